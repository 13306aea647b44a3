"""Whole runs from Python: what they record, what they learn, what they refuse."""

from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from messages import input_error
from networks import assert_same_bits

import ddg_ref
from ddg_ref import Config, Dataset, DivergenceError, InputError
from ddg_ref.layers import BatchNorm, Flatten, Linear, Sequential, Tanh
from ddg_ref.losses import LOSSES
from ddg_ref.runs.evaluation import evaluate, infer
from ddg_ref.runs.training import Training

QUICK = {"model": "mlp", "width": 8, "depth": 3, "modules": 2, "split": "count", "batch_size": 50, "epochs": 2}


def blobs(n=70, classes=3, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    x = (3 * np.eye(classes, 4)[y] + rng.standard_normal((n, 4))).astype(dtype)
    return Dataset("blobs", x[:50], y[:50], x[50:], y[50:], classes)


def test_history_has_one_record_per_epoch_and_one_for_the_rest():
    run = ddg_ref.train(**QUICK | {"epochs": None, "iterations": 60})
    assert [(r.epoch, r.iteration) for r in run.history] == [(1, 29), (2, 58), (3, 60)]
    assert all(
        later.seconds >= earlier.seconds > 0 for earlier, later in zip(run.history, run.history[1:], strict=False)
    )
    assert run.final_test_accuracy == run.history[-1].test_accuracy


def test_epochs_and_iterations_whichever_ends_first():
    assert ddg_ref.train(**QUICK | {"iterations": 3}).history[-1].iteration == 3
    assert ddg_ref.train(**QUICK | {"iterations": 3000}).history[-1].iteration == 58


def test_accuracy_is_an_exact_count():
    """Neither the smaller last training batch nor the smaller last evaluation batch is padded or weighted wrongly."""
    run = ddg_ref.train(**QUICK)
    data = ddg_ref.DATASETS["digits"]()
    assert len(data.x_test) % 250
    assert run.final_test_accuracy == (run.predict(data.x_test) == data.y_test).mean()


@pytest.mark.parametrize("n", [1, 249, 250, 251, 700])
def test_predictions_are_those_of_evaluation(n):
    """By the same outputs, bit for bit, of the same parts of 250 samples."""
    run = ddg_ref.train(**QUICK | {"epochs": 0})
    x = np.concatenate([ddg_ref.DATASETS["digits"]().x_train] * 2)[:n]
    params = {name: run.weights[name] for name in run.network.parameter_shapes()}
    outputs = infer(run.network, params, {}, x)
    expected = [run.network.infer(params, {}, x[i : i + 250]) for i in range(0, n, 250)]
    assert [part.tobytes() for part in outputs] == [part.tobytes() for part in expected]
    classes = run.predict(x)
    np.testing.assert_array_equal(classes, np.concatenate(expected).argmax(axis=1))
    assert evaluate(run.network, params, {}, x, classes, LOSSES["cross-entropy"])[1] == 1


def spoilt(value, sample, dtype="float32"):
    x = np.full((5, 8, 8, 1), 0.5, dtype)
    x[sample, 3, 3] = value
    return x


@pytest.mark.parametrize(
    ("x", "expected", "got", "advice"),
    [
        (spoilt(np.nan, 3), "predict: expected finite numbers", "in sample 3", "repair"),
        (spoilt(-np.inf, 0), "predict: expected finite numbers", "in sample 0", "repair"),
        (spoilt(1e300, 2, "float64"), "predict: expected finite numbers", "in sample 2", "repair"),
        (spoilt(3e38, 4), "predict: expected samples scaled as the training data", "in sample 4", "scale x"),
        (None, "predict: expected x as a non-empty array", "NoneType", "convert"),
        (
            np.full((2, 8, 8, 1), None),
            "predict: expected x as a non-empty array (samples, ...) of",
            "object",
            "convert",
        ),
        (np.zeros((2, 8, 8, 1), complex), "predict: expected x as a non-empty array", "complex128", "convert"),
        (np.zeros((2, 8, 8, 1), str), "predict: expected x as a non-empty array", "<U1", "convert"),
        (np.zeros((0, 8, 8, 1)), "predict: expected x as a non-empty array", "(0, 8, 8, 1)", "convert"),
        (np.zeros((8, 8, 1)), "predict: expected samples of shape (8, 8, 1)", "x (8, 8, 1)", "reshape"),
    ],
    ids=str,
)
def test_what_cannot_be_predicted(x, expected, got, advice):
    layers = [Flatten(), Linear(64, 10)]
    run = ddg_ref.train(model=layers, modules=1, epochs=0, split="count", engine="reference")
    run.weights["1.weight"] *= 100  # so that large numbers overflow
    with input_error(expected=expected, got=got, advice=advice):
        run.predict(x)


def test_what_cannot_be_evaluated():
    network, loss = Sequential([Linear(4, 3)]), LOSSES["squared-error"]
    params = network.init(np.random.default_rng(0))
    x, y = np.zeros((600, 4), np.float32), np.zeros(600, int)
    assert evaluate(network, params, {}, x, y, loss) == (pytest.approx(1 / 3), 1)
    spoilt_x, negative, large = x.copy(), y.copy(), y.copy()
    spoilt_x[590, 1], negative[590], large[590] = np.nan, -1, 3
    for arrays, expected, got, advice in (
        ((spoilt_x, y), "evaluate: expected finite numbers", "sample 590", "repair"),
        ((x, negative), "evaluate: expected labels 0 to 2", "-1 to 0", "renumber"),
        ((x, large), "evaluate: expected labels 0 to 2", "0 to 3", "renumber"),
        ((x, y[:, None]), "evaluate: expected y as whole numbers of shape (600,)", "(600, 1)", "convert"),
        ((x, y[:599]), "evaluate: expected y as whole numbers of shape (600,)", "(599,)", "convert"),
        ((x[:250], y), "evaluate: expected y as whole numbers of shape (250,)", "(600,)", "convert"),
        ((x, y == 0), "evaluate: expected y as whole numbers", "bool", "convert"),
        ((x, y.astype(float)), "evaluate: expected y as whole numbers", "float64", "convert"),
        ((x[:0], y[:0]), "evaluate: expected x as a non-empty array", "(0, 4)", "convert"),
    ):
        with input_error(expected=expected, got=got, advice=advice):
            evaluate(network, params, {}, *arrays, loss)


def test_training_record_is_the_mean_over_samples():
    data, layers = blobs(), [Linear(4, 3)]
    training = Training(Config(lr=1e-30, batch_size=32, modules=1, epochs=1, model="own"), data, layers)
    (record,) = training.epochs()
    loss, accuracy = ddg_ref.runs.evaluation.evaluate(
        training.network, training.pipeline.params, {}, data.x_train, data.y_train, training.task.loss
    )
    assert record.train_loss == pytest.approx(loss, rel=1e-6)
    assert record.train_accuracy == accuracy


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("method", ddg_ref.METHODS)
def test_engines_give_the_same_run(method, drain):
    config = Config(**QUICK | {"method": method, "drain": drain, "modules": 3})
    runs = [ddg_ref.train(replace(config, engine=engine)) for engine in ("reference", "threads")]
    assert_same_bits(runs[0].weights, runs[1].weights)
    untimed = [[r._replace(seconds=0) for r in run.history] for run in runs]
    assert untimed[0] == untimed[1]


def test_seed_decides():
    a, b, c = (ddg_ref.train(**QUICK, seed=seed).weights for seed in (1, 1, 2))
    assert_same_bits(a, b)
    assert any(a[name].tobytes() != c[name].tobytes() for name in a)


def test_draining_applies_the_gradients_in_flight():
    drained, left = (ddg_ref.train(**QUICK, drain=drain).weights for drain in (True, False))
    changed = {name.split(".")[0] for name in drained if drained[name].tobytes() != left[name].tobytes()}
    assert changed == {"1"}  # module 1 holds layers 0 to 2; module 2 has no delay


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_everywhere(dtype):
    run = ddg_ref.train(model="cnn", width=2, epochs=1, iterations=2, dtype=dtype, split="count", optimizer="adam")
    assert {array.dtype.name for array in run.weights.values()} == {dtype}


@pytest.mark.parametrize(
    "change",
    [
        {"width": 9},
        {"depth": 4},
        {"loss": "squared-error"},
        {"lr": 0.2},
        {"momentum": 0.5},
        {"nesterov": True},
        {"weight_decay": 0.1},
        {"optimizer": "adam"},
        {"optimizer": "adam", "beta1": 0.5},
        {"optimizer": "adam", "beta2": 0.5},
        {"optimizer": "adam", "eps": 1.0},
        {"schedule": "harmonic"},
        {"schedule": "harmonic", "period": 9.0},
        {"schedule": "inverse-sqrt"},
        {"schedule": "multi-step", "milestones": "1"},
        {"schedule": "multi-step", "milestones": "1", "factor": 0.5},
        {"warmup": 10},
        {"epochs": 1},
        {"iterations": 5},
        {"batch_size": 49},
        {"seed": 1},
        {"dtype": "float64"},
        {"drain": False},
        {"method": "bp"},
        {"method": "fdg", "shrink": 0.5},
        {"method": "gpipe", "micro_batches": 7},
        {"method": "dni", "synthesizer_width": 3},
        {"method": "dni", "synthesizer_lr": 0.5},
        {"method": "dni", "synthesizer_labels": True},
        {"modules": 3},
        {"split": "1"},
        {"model": "mlp", "data": "shapes"},
    ],
    ids=str,
)
def test_every_option_has_an_effect(change):
    without = {
        name: value for name, value in change.items() if name in ("optimizer", "schedule", "method") and len(change) > 1
    }
    if without.get("schedule") == "multi-step":
        without = {} if "factor" not in change else without | {"milestones": change["milestones"]}
    base, changed = ddg_ref.train(**QUICK | without).weights, ddg_ref.train(**QUICK | change).weights
    assert base.keys() != changed.keys() or any(base[name].tobytes() != changed[name].tobytes() for name in base)


def test_own_layers_and_own_data():
    run = ddg_ref.train(data=blobs(), model=[Linear(4, 8), Tanh(), Linear(8, 3)], modules=3, epochs=30, batch_size=10)
    assert run.final_test_accuracy > 0.7
    assert (run.config.data, run.config.model) == ("blobs", "custom")
    assert run.modules == [
        {"layers": [0], "parameters": 40},
        {"layers": [1], "parameters": 0},
        {"layers": [2], "parameters": 27},
    ]


def test_digits_are_learned_alike_by_bp_and_ddg():
    accuracy = {
        (method, K): median(
            ddg_ref.train(method=method, modules=K, seed=seed, epochs=8).final_test_accuracy for seed in range(3)
        )
        for method, K in (("bp", 1), ("ddg", 2), ("ddg", 4))
    }
    assert min(accuracy.values()) >= 0.98
    assert all(abs(reached - accuracy["bp", 1]) <= 0.01 for reached in accuracy.values())


@pytest.mark.parametrize("method", [name for name in ddg_ref.METHODS if name != "dni"])
def test_digits_are_learned_by_every_method_whose_error_gradients_come_from_above(method):
    """With a small step: with momentum 0.9 and a delay of 4 iterations, fdg's, a larger one is too large. That of
    async-nesterov is multiplied by 1 - 0.9."""
    lr = 0.2 if method == "async-nesterov" else 0.02
    run = ddg_ref.train(method=method, modules=3, split="count", epochs=8, width=16, lr=lr)
    assert run.final_test_accuracy >= (0.93 if method == "fdg" else 0.96)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"model": "cnn", "width": 16, "modules": 2, "split": "count"}, 0.95),
        ({"model": "mlp", "width": 64, "optimizer": "adam", "lr": 1e-3, "modules": 2, "split": "count"}, 0.9),
    ],
    ids=["cnn", "mlp"],
)
def test_digits_are_learned_by_two_modules_of_which_one_guesses(options, least):
    """With more modules, or larger steps in an MLP, it learns less or nothing: guesses that err feed on each other."""
    assert ddg_ref.train(method="dni", epochs=8, **options).final_test_accuracy >= least


def test_memory_that_waits():
    """What the rows say of it: old weights and caches (ddg), inputs alone (fr), one batch (bp), twice as many (fdg)."""
    held = {}
    for method in ("bp", "ddg", "fr", "fdg"):
        training = Training(Config(**QUICK | {"method": method, "modules": 3, "iterations": 9, "drain": False}))
        for _ in training.epochs():
            pass
        first = training.pipeline.modules[0]
        old = {id(flight.params) for flight in first.queue if flight.params}
        held[method] = len(first.queue), len(first.caches), len(old)
    assert held == {"bp": (0, 0, 0), "ddg": (2, 2, 2), "fr": (2, 0, 0), "fdg": (4, 4, 4)}


def test_resnet_learns():
    run = ddg_ref.train(model="resnet", width=8, modules=4, split="count", epochs=3)
    assert run.final_test_accuracy > 0.8
    assert run.milliseconds_per_iteration > 0


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "iris"}, "unknown data 'iris': choose one of digits, shapes, cifar10, cifar100, mnist, or give the "),
        ({"lr": "0.1"}, "lr: expected float, got str '0.1'"),
        ({"modules": 2.5}, "modules: expected int, got float 2.5"),
        ({"nesterov": 1}, "nesterov: expected bool or None, got int 1"),
        ({"model": "vgg"}, "unknown model 'vgg': choose one of mlp, cnn, resnet"),
        ({"method": "x"}, "unknown method 'x': choose one of bp, ddg"),
        ({"engine": "x"}, "unknown engine 'x': choose one of reference, threads"),
        ({"optimizer": "x"}, "unknown optimizer 'x': choose one of sgd, adam"),
        ({"schedule": "x"}, "unknown schedule 'x': choose one of constant, multi-step, harmonic, inverse-sqrt"),
        ({"dtype": "float16"}, "unknown dtype 'float16': choose one of float32, float64"),
        ({"loss": "x"}, "unknown loss 'x'"),
        ({"colour": "red"}, "unknown option 'colour': choose from data, data_dir, "),
        ({"modules": 7}, "modules: expected 1 to 6, one layer each at the most, got 7"),
        ({"modules": 0}, "modules: expected a whole number >= 1, got 0"),
        ({"split": "3,2", "modules": 3}, "cuts: expected increasing layer numbers from 1 to 5, got [3, 2]"),
        ({"split": "6"}, "cuts: expected increasing layer numbers from 1 to 5, got [6]"),
        ({"split": "0"}, "cuts: expected increasing layer numbers from 1 to 5, got [0]"),
        ({"split": "1,2"}, "split: expected 1 cut points for 2 modules, got 2 (1,2)"),
        ({"split": "half"}, "split: expected cost, count or layer numbers like 3,6,9, got 'half'"),
        ({"lr": 0.0}, "lr: expected a finite number > 0, got 0.0"),
        ({"lr": -1.0}, "lr: expected a finite number > 0, got -1.0"),
        ({"lr": float("nan")}, "lr: expected a finite number > 0, got nan"),
        ({"batch_size": 1438}, "batch size: expected 1 to 1437, the number of training samples, got 1438"),
        ({"batch_size": 0}, "batch_size: expected a whole number >= 1, got 0"),
        ({"epochs": -1}, "epochs: expected a whole number >= 0, got -1"),
        ({"iterations": -1}, "iterations: expected a whole number >= 0, got -1"),
        ({"seed": -1}, "seed: expected a whole number >= 0, got -1"),
        ({"momentum": 1.0}, "momentum: expected a number in [0, 1), got 1.0"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov: expected momentum > 0, got 0"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum: optimizer adam has no such option"),
        ({"beta1": 0.9}, "beta1: optimizer sgd has no such option"),
        ({"optimizer": "adam", "beta2": 1.0}, "beta2: expected a number in [0, 1), got 1.0"),
        ({"weight_decay": -0.1}, "weight_decay: expected a finite number >= 0, got -0.1"),
        ({"milestones": "3"}, "milestones: schedule constant has no such option"),
        ({"schedule": "multi-step"}, "milestones: expected epochs like 150,225 for schedule multi-step, got none"),
        ({"schedule": "multi-step", "milestones": "3,x"}, "milestones: expected epochs like 150,225, got '3,x'"),
        ({"schedule": "multi-step", "milestones": "3,2"}, "milestones: expected increasing numbers"),
        ({"schedule": "harmonic", "period": 0.0}, "period: expected a finite number > 0, got 0.0"),
        ({"model": "resnet", "width": 4, "depth": 9}, "depth: expected 6n+2 for a resnet"),
        ({"shrink": 0.5}, "shrink: method ddg has no such option; leave it out"),
        ({"method": "fdg", "shrink": 0.0}, "shrink: expected a number in (0, 1], got 0.0"),
        ({"method": "fdg", "shrink": 1.5}, "shrink: expected a number in (0, 1], got 1.5"),
        ({"method": "fdg", "shrink": float("nan")}, "shrink: expected a number in (0, 1], got nan"),
        ({"micro_batches": 2}, "micro_batches: method ddg has no such option; leave it out"),
        ({"method": "gpipe", "micro_batches": 0}, "micro_batches: expected a whole number >= 1, got 0"),
        ({"method": "gpipe", "micro_batches": 2.0}, "micro_batches: expected int or None, got float 2.0"),
        ({"method": "bp", "synthesizer_width": 9}, "synthesizer_width: method bp has no such option"),
        ({"method": "bp", "delay_scaling": 3.0}, "delay_scaling: method bp has no such option"),
        ({"delay_scaling": 0.0}, "delay_scaling: expected a finite number > 0, got 0.0"),
        (
            {"method": "spike", "optimizer": "adam"},
            "optimizer: expected sgd without nesterov for spike",
        ),
        ({"method": "async-nesterov", "optimizer": "nadam"}, "optimizer: expected sgd for the asynchronous Nesterov"),
        ({"method": "dni", "synthesizer_width": 0}, "synthesizer_width: expected a whole number >= 1, got 0"),
        ({"method": "dni", "synthesizer_lr": 0.0}, "synthesizer_lr: expected a finite number > 0, got 0.0"),
        ({"method": "dni", "synthesizer_labels": 1}, "synthesizer_labels: expected bool or None, got int 1"),
        ({"width": 0}, "width: expected a whole number >= 1, got 0"),
    ],
    ids=str,
)
def test_bad_options_get_one_line(options, message):
    with pytest.raises(InputError) as error:
        ddg_ref.train(**QUICK | options)
    assert one_line(error).startswith(message)


def test_wrong_arrays_get_one_line():
    run = ddg_ref.train(**QUICK | {"epochs": 0})
    with pytest.raises(InputError, match=r"predict: expected samples of shape \(8, 8, 1\), got x \(3, 64\)"):
        run.predict(np.zeros((3, 64)))
    with pytest.raises(InputError, match=r"Linear\(n_in=5, n_out=3\): expected samples of shape \(5,\), got \(4,\)"):
        ddg_ref.train(data=blobs(), model=[Linear(5, 3)], modules=1, batch_size=10)
    with pytest.raises(InputError, match=r"model: expected 3 outputs, one per class, got \(2,\)"):
        ddg_ref.train(data=blobs(), model=[Linear(4, 2)], modules=1, batch_size=10)
    with pytest.raises(InputError, match="model: expected at least one layer, got none"):
        ddg_ref.train(data=blobs(), model=[], modules=1, batch_size=10)
    with pytest.raises(InputError, match="width, depth: the layers of this model were given"):
        ddg_ref.train(data=blobs(), model=[Linear(4, 3)], width=3, modules=1, batch_size=10)
    with pytest.raises(InputError, match="train: expected a Config or options, got both"):
        ddg_ref.train(Config(), epochs=3)


ONE_LEFT = {"batch_size": 7}  # 7 * 7 + 1 samples to train on
NORMED = [Linear(4, 4), BatchNorm(4), Linear(4, 3)]


def pixels(*sides):
    """50 images to train on whose 3 channels tell the class."""
    data = blobs()
    images = {
        name: np.ones((1, *sides, 1), "f4") * getattr(data, name)[:, None, None] for name in ("x_train", "x_test")
    }
    return replace(data, **images)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (blobs(), {"model": NORMED} | ONE_LEFT),
        (blobs(), {"model": NORMED, "batch_size": 1}),
        (blobs(), {"model": NORMED, "batch_size": 1, "epochs": None, "iterations": 1}),
        (blobs(), {"model": NORMED, "batch_size": 50, "method": "gpipe", "micro_batches": 26}),
        (blobs(), {"model": NORMED, "batch_size": 16, "method": "gpipe", "micro_batches": 2}),
        (blobs(), {"model": [Linear(4, 4), Linear(4, 3)], "method": "dni", "batch_size": 7}),
        (
            blobs(),
            {"model": [Linear(4, 4), Linear(4, 3)], "method": "dni", "batch_size": 7, "synthesizer_labels": True},
        ),
        (pixels(1, 1), {"model": "cnn", "width": 2} | ONE_LEFT),
        (pixels(1, 1), {"model": "resnet", "width": 2} | ONE_LEFT),
        (pixels(1, 3), {"model": "resnet", "width": 2} | ONE_LEFT),  # a single pixel in the last stage
    ],
    ids=str,
)
def test_batch_norm_over_a_single_row_is_foreseen(data, options):
    """Nothing is trained, and nothing measured, before it is refused."""
    with input_error(
        expected="batch_size: expected at least 2 samples at a time", got="got 1", advice="choose another"
    ):
        ddg_ref.train(data=data, **{"modules": 2, "epochs": 1} | options)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (blobs(), {"model": NORMED, "batch_size": 8}),
        (blobs(), {"model": NORMED, "epochs": None, "iterations": 7} | ONE_LEFT),
        (blobs(), {"model": NORMED, "epochs": 0} | ONE_LEFT),
        (blobs(), {"model": NORMED, "batch_size": 50, "method": "gpipe", "micro_batches": 25}),
        (blobs(), {"model": [Linear(4, 4), Linear(4, 3)], "method": "dni", "batch_size": 8}),
        (blobs(), {"model": [Linear(4, 4), Linear(4, 3)]} | ONE_LEFT),
        (pixels(2, 1), {"model": "cnn", "width": 2} | ONE_LEFT),
        (pixels(1, 5), {"model": "resnet", "width": 2} | ONE_LEFT),
        (pixels(2, 1), {"model": "cnn", "width": 2, "batch_size": 1, "epochs": None, "iterations": 3}),
    ],
    ids=str,
)
def test_batch_norm_over_two_rows_is_trained(data, options):
    run = ddg_ref.train(data=data, **{"modules": 2, "epochs": 1, "split": "count"} | options)
    assert all(array.min() > 1e-3 for name, array in run.weights.items() if name.endswith("running_variance"))


@pytest.mark.parametrize("engine", ["reference", "threads"])
def test_divergence_stops_the_run(engine):
    with pytest.raises(DivergenceError, match=r"the loss became (nan|inf) at iteration \d+: "):
        ddg_ref.train(**QUICK | {"lr": 1e18, "engine": engine})
