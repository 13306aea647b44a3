"""The channel: order, bounds, pairing, waking."""

import threading
import time

import pytest

from ddg_ref.workers.channel import Channel, StoppedError, StopSignal


def test_messages_come_out_in_order_and_carry_their_batch():
    channel = Channel(3, StopSignal())
    for batch in range(3):
        channel.give(batch, f"message {batch}")
    assert [channel.take(batch) for batch in range(3)] == ["message 0", "message 1", "message 2"]


def test_the_wrong_batch_is_an_error():
    channel = Channel(1, StopSignal())
    channel.give(4, "x")
    with pytest.raises(RuntimeError, match="expected the message of micro-batch 5, got that of 4"):
        channel.take(5)


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_give_waits_while_full(capacity):
    channel, given = Channel(capacity, StopSignal()), []

    def giver():
        for batch in range(capacity + 2):
            channel.give(batch, batch)
            given.append(batch)

    thread = threading.Thread(target=giver, daemon=True)
    thread.start()
    deadline = time.monotonic() + 5
    while len(given) < capacity and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(given) == capacity
    assert [channel.take(batch) for batch in range(capacity + 2)] == list(range(capacity + 2))
    thread.join()


@pytest.mark.parametrize("wait", ["take", "give"])
def test_the_stop_signal_wakes_whoever_waits(wait):
    stop = StopSignal()
    channel, caught = Channel(1, stop), []
    if wait == "give":
        channel.give(0, None)

    def waiter():
        try:
            channel.give(1, None) if wait == "give" else channel.take(0)
        except StoppedError as error:
            caught.append(error)

    thread = threading.Thread(target=waiter, daemon=True)
    thread.start()
    time.sleep(0.02)
    stop.set()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert len(caught) == 1


@pytest.mark.parametrize("wait", ["take", "give"])
def test_after_the_stop_signal_nobody_goes_on_even_if_he_could(wait):
    stop = StopSignal()
    channel = Channel(2, stop)
    channel.give(0, "a message, and room for another")
    stop.set()
    with pytest.raises(StoppedError):
        channel.take(0) if wait == "take" else channel.give(1, None)
