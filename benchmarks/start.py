"""How long `import ddg_ref` takes, in processes of their own."""

import subprocess
import sys

from benchmarks.timing import Contender, Ratio, ratio, take_turns


def import_ratio(repetitions: int) -> Ratio:
    """Time of `import ddg_ref` over that of `import numpy`, each less the start of an empty interpreter."""

    def start(code: str) -> Contender:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True) and None

    seconds = take_turns({code: start(code) for code in ("pass", "import numpy", "import ddg_ref")}, repetitions)
    empty = seconds["pass"]
    ours, numpy = (
        [total - idle for total, idle in zip(seconds[code], empty, strict=True)]
        for code in ("import ddg_ref", "import numpy")
    )
    return ratio(ours, numpy)
