"""`python -m benchmarks.accuracy`: what the digits CNN reaches at the demo's settings, by method and seed."""

from statistics import median

from ddg_ref import train

SEEDS = (0, 1, 2)


def main() -> None:
    for method, K in (("bp", 1), ("ddg", 2), ("ddg", 4)):
        reached = [100 * train(method=method, modules=K, seed=seed).final_test_accuracy for seed in SEEDS]
        each = ", ".join(f"{accuracy:.2f}" for accuracy in reached)
        print(f"{method} K={K}: test accuracy {median(reached):.2f}%, median of {each} (seeds {SEEDS})")


if __name__ == "__main__":
    main()
