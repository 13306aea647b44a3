"""Schedules in files: what is read and written, and what is refused in which words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddg_ref import deadlock, versions
from ddg_ref.errors import InputError, ScheduleError
from ddg_ref.methods import METHODS
from ddg_ref.schedule_files import LARGEST, ScheduleFile, flushed, parse, read
from ddg_ref.schedules import Action, flush, in_iteration, one_each, one_forward_one_backward

GPIPE = "0F0,0F1,,,0B0,0B1\n,1F0,1F1,1B0,1B1\n"
ZERO_BUBBLE = "0F0,0F1,,0I0,0W0,0I1,0W1\n,1F0,1I0,1F1,1I1,1W0,1W1\n"
INTERLEAVED = "0F0,0F1,2F0,2F1,2B0,2B1,0B0,0B1\n1F0,1F1,3F0,3B0,3F1,3B1,1B0,1B1\n"
V = "0F0,,,3F0,3B0,,,0B0\n,1F0,2F0,,,2B0,1B0\n"


def room(capacity):
    return lambda a, b: capacity


@pytest.mark.parametrize("content", [GPIPE, ZERO_BUBBLE, INTERLEAVED, V, "0F0,0B0\n"])
def test_what_is_read_is_written_again(content):
    found = parse(content)
    assert found.text() == content
    assert parse(found.text()) == found
    found.check(room(2))


def test_spaces_quotes_line_ends_and_idle_steps_at_the_end_say_nothing():
    spaced = '\ufeff 0F0 , 0F1,,,"0B0",0B1,,\r\n,1F0,1F1,1B0,1B1\r\n\r\n\n'
    assert parse(spaced.removeprefix("\ufeff")) == parse(GPIPE)


def test_the_files_of_pytorch_are_read_from_the_disk(tmp_path):
    path = tmp_path / "schedule.csv"
    path.write_bytes(b"\xef\xbb\xbf" + GPIPE.replace("\n", "\r\n").encode())
    assert read(path) == parse(GPIPE)


@pytest.mark.parametrize(("name", "M"), [("bp", 1), ("bp", 3), ("gpipe", 4), ("1f1b", 1), ("1f1b", 4), ("1f1b", 7)])
@pytest.mark.parametrize("K", [1, 2, 3, 5])
def test_what_a_row_of_the_table_does_is_written_and_read_back(name, M, K):
    schedule = METHODS[name].schedule
    found = parse(flushed(schedule, K, M).text())
    assert (found.K, found.M) == (K, M)
    for t in (0, 3):
        assert in_iteration(found.programs, t) == in_iteration(one_each(schedule, K, M), t)
        assert [found(k, K, t, M) for k in range(1, K + 1)] == [list(schedule(k, K, t, M)) for k in range(1, K + 1)]
    assert deadlock.check(found, K, M) == deadlock.check(schedule, K, M)
    for k in range(1, K + 1):
        assert versions.held(found, k, K, M) == versions.held(schedule, k, K, M)


def test_the_columns_are_steps():
    assert flushed(one_forward_one_backward, 2, 3).text() == "0F0,0F1,,0B0,0F2,0B1,,0B2\n,1F0,1B0,1F1,1B1,1F2,1B2\n"
    assert flushed(flush, 2, 2).text() == GPIPE


@pytest.mark.parametrize("name", ["ddg", "fdg", "dni"])
def test_what_has_no_flush_is_not_written(name):
    with pytest.raises(InputError, match=r"expected a schedule of forward and backward passes with a flush .* got 0F0"):
        flushed(METHODS[name].schedule, 2, 1)


@st.composite
def files(draw):
    """Stages spread over ranks, and what each rank does in a random order that is allowed."""
    K, M, ranks = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rank_of = {k: min(draw(st.integers(0, ranks - 1)), k - 1) for k in range(1, K + 1)}
    order = {rank: i for i, rank in enumerate(dict.fromkeys(rank_of.values()))}
    chains = [[] for _ in order]
    for k in range(1, K + 1):
        for n in range(M):
            kinds = draw(st.sampled_from(["FB", "FIW"]))
            chains[order[rank_of[k]]].append([(k, Action(kind, n)) for kind in kinds])
    rows = []
    for own in chains:
        row = []
        while any(own):
            chain = draw(st.sampled_from([chain for chain in own if chain]))
            row += [None] * draw(st.integers(0, 1)) + [chain.pop(0)]
        rows.append(tuple(row))
    return ScheduleFile(tuple(rows))


@given(files())
@settings(derandomize=True, deadline=None, max_examples=200, database=None)
def test_any_file_comes_back_as_it_was(drawn):
    assert parse(drawn.text()) == drawn
    assert parse.__wrapped__(drawn.text()) == drawn


@given(files(), st.integers(1, 3))
@settings(derandomize=True, deadline=None, max_examples=200, database=None)
def test_a_file_of_one_stage_per_rank_is_judged_as_its_schedule(drawn, capacity):
    """`deadlock.check` knows more rules; what it accepts comes to its end in a flush, too."""
    if len(drawn.rows) < drawn.K:
        return
    try:
        deadlock.check(drawn, drawn.K, drawn.M, capacity)
    except ScheduleError as error:
        if "can never happen" in str(error):
            with pytest.raises(ScheduleError, match="can never happen"):
                drawn.check(room(capacity))
    else:
        drawn.check(room(capacity))


def test_the_split_off_half_of_a_backward_pass_keeps_its_activation():
    found = parse(ZERO_BUBBLE)
    assert versions.held(found, 1, 2, 2) == versions.Held(2, 1)
    assert versions.held(found, 2, 2, 2) == versions.Held(2, 1)  # with whole backward passes 1 would do


REFUSED = {
    "": "expected a row of actions for each rank, got none; 0F0,0B0 is the smallest schedule",
    "\n\n": "expected a row of actions for each rank, got none",
    ",,\n0F0,0B0\n": "row 1: expected actions, got none",
    "0F0,0B0,0X0": "row 1, column 3: expected an action like 0F0 (stage; F, B, I or W; micro-batch) or nothing, got",
    "0F0,0B": "row 1, column 2: expected an action like 0F0",
    "0F0;0B0": "row 1, column 1: expected an action like 0F0",
    "F0,0B0": "row 1, column 1: expected an action like 0F0",
    "0F,0B": "row 1, column 1: expected an action like 0F0",
    "0f0,0b0": "row 1, column 1: expected an action like 0F0",
    "0F0,\0000B0": "row 1, column 2: expected an action like 0F0",
    "0F-1,0B0": "row 1, column 1: expected an action like 0F0",
    "0F1234567,0B0": "row 1, column 1: expected an action like 0F0",
    "\u0660F0,0B0": "row 1, column 1: expected an action like 0F0",
    "0F0,0B" + "9" * 100000: "row 1, column 2: expected an action like 0F0",
    '0F0,"0B0\n': "row 1: expected cells with commas between them, got others (",
    "0F0,0B0," + "x" * 200000: "row 1: expected cells with commas between them, got others (field larger",
    "0F0,1RECV_B0,0B0": "got '1RECV_B0'; write computations only, one after the other: communication follows from them",
    "0UNSHARD,0F0,0B0": "write computations only",
    "0F0,1SEND_F0,0B0": "write computations only",
    "0F0,(0F1;0B0;0B1)OVERLAP_F_B": "row 1, column 2: expected an action like 0F0",
    "0F0,(0F1;)OVERLAP_F_B,0B0,0B1": "row 1, column 2: expected an action like 0F0",
    "0F0,REDUCE_GRAD,0B0": "row 1, column 2: expected an action like 0F0",
    "0F0,0F0,0B0": "row 1, column 2: expected each action once, got 0F0 again; leave it out",
    "0F0,0B0\n0F1,0B1": "row 2, column 1: expected stage 0 on one rank, that of row 1, got 0F1; move it",
    "0B0,0F0": "row 1, column 1: expected 0F0 before 0B0; change the order",
    "0F0,0W0,0I0": "row 1, column 2: expected 0I0 before 0W0; change the order",
    "0F0,0I0,0B0,0W0": "row 1, column 3: expected one backward pass, whole or in halves, got 0B0 after 0I0; leave one",
    "0F0,0B0,0I0": "row 1, column 3: expected one backward pass, whole or in halves, got 0I0 after 0B0; leave one",
    "0F0,0B0\n2F0,2B0": "expected stages 0 to 2, got none of stage 1; add its actions",
    "0F0,0F2,0B0,0B2": "row 1: expected that stage 0 runs forward and backward on micro-batches 0 to 2, got no 0F1; a",
    "0F0,0F1,0B1": "row 1: expected that stage 0 runs forward and backward on micro-batches 0 to 1, got no 0B0; add it",
    "0F0,0I0": "row 1: expected that stage 0 runs forward and backward on micro-batches 0 to 0, got no 0W0; add it",
    "0F0,0F1,0B0,0B1\n1F0,1B0": "row 2: expected that stage 1 runs forward and backward on micro-batches 0 to 1, got",
    "0F0,0B0,0F999999,0B999999": "row 1: expected that stage 0 runs forward and backward on micro-batches 0 to 9999",
    "0F0,0B0," + "," * 400_000 + "0Y0": "row 1, column 400003: expected an action like 0F0",
}


@pytest.mark.parametrize("content", REFUSED, ids=[f"{content:.20}" for content in REFUSED])
def test_bad_files_are_refused_in_one_line(content, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(content.encode())
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert REFUSED[content] in message
    assert message.startswith(f"schedule {path}: ")
    assert "\n" not in message
    assert len(message) < 500


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "bad.csv"
    for content, message in (
        (b"0F0,\xff0B0", "expected text, got the byte 0xff"),
        (b"\x7fELF\x02\x01\x01\x00", "expected an action like 0F0"),
        (GPIPE.encode("utf-16"), "expected text, got the byte 0xff"),
        (b"," * (LARGEST + 1), f"expected at most {LARGEST} bytes, got more"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read(path)
    for place in (tmp_path, tmp_path / "none.csv", "/dev/zero"):
        with pytest.raises(InputError, match="expected a file with a schedule, got none"):
            read(type(tmp_path)(place))


def test_many_idle_steps_are_nothing_and_a_million_are_too_many(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("0F0,0B0" + "," * 500_000)
    assert read(path) == parse("0F0,0B0\n")
    path.write_text("0F0,0B0" + "," * 10**6)
    with pytest.raises(InputError, match=f"expected at most {LARGEST} bytes, got more"):
        read(path)


def test_ranks_that_block_each_other_are_named():
    both_first = parse("0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1\n")
    with pytest.raises(
        ScheduleError, match=r"0B0 \(module 1, iteration 0\) can never happen: it waits for the error gra"
    ):
        both_first.check(room(2))
    crossed = parse("0F0,0F1,0B0,0B1\n1F1,1F0,1B1,1B0\n")
    with pytest.raises(ScheduleError, match=r"1F1 \(module 2\): takes a message of micro-batch 1 from module 1, gets"):
        crossed.check(room(2))
    parse(GPIPE).check(room(1))
    narrow = parse("0F0,0F1,0F2,0B0,0B1,0B2\n1F0,1F1,1F2,1B0,1B1,1B2\n2F0,2F1,2F2,2B0,2B1,2B2\n")
    narrow.check(room(1))
    with pytest.raises(ScheduleError, match="it waits for room for its activation, where 0 may lie"):
        narrow.check(room(0))
    with pytest.raises(ScheduleError, match=r"1F0 .* can never happen"):  # its own rank goes on to stage 2 too early
        parse("2F0,0F0,2B0,0B0\n1F0,1B0\n").check(room(2))


@pytest.mark.parametrize("content", [GPIPE, ZERO_BUBBLE, INTERLEAVED, V])
def test_several_stages_and_halves_of_backward_passes_can_be_run(content):
    parse(content).expect_runnable()


def test_what_cannot_be_run_is_refused_in_one_line():
    for content, message in (
        ("0F0,0F1,0B1,0B0\n", r"0B1 \(module 1\): micro-batch 0 went forward first, so it goes back first"),
        (
            "0F1,0F0,0B1,0B0\n",
            "module 1: expected iterations that begin with a forward pass, and go forward on micro-b",
        ),
        ("2F0,0F0,2B0,0B0\n1F0,1B0\n", r"1F0 \(module 2, iteration 0\) can never happen: it waits for the activation"),
    ):
        with pytest.raises(ScheduleError, match=message):
            parse(content).expect_runnable()


def test_actions_that_may_overlap_come_one_after_the_other():
    assert parse("0F0,(0F1; 0B0)OVERLAP_F_B,0B1\n") == parse("0F0,0F1,0B0,0B1\n")


def test_what_copies_of_a_stage_do_together_is_nothing_here():
    assert parse("0F0,0B0,0REDUCE_GRAD\n") == parse("0F0,0B0\n")


def test_a_file_is_asked_for_its_own_numbers_only():
    found = parse(GPIPE)
    for k, M in ((0, 2), (3, 2), (1, 3)):
        with pytest.raises(ScheduleError, match="expected a module from 1 to 2 and 2 micro-batches, as in the file"):
            found(k, 2, 0, M)


def test_micro_batches_may_go_back_the_other_way_round():
    """As a stack, which the engines do not do."""
    found = parse("0F0,0F1,,,0B1,0B0\n,1F0,1F1,1B1,1B0\n")
    found.check(room(2))
    assert versions.held(found, 1, 2, 2) == versions.Held(2, 1)
    with pytest.raises(ScheduleError, match="micro-batch 0 went forward first, so it goes back first"):
        deadlock.check(found, 2, 2)


def test_stages_of_one_rank_pass_on_as_much_as_they_like():
    parse("0F0,0F1,0F2,1F0,1F1,1F2,1B0,1B1,1B2,0B0,0B1,0B2\n").check(room(1))
