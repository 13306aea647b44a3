"""Which algorithm is your trainer? Traces of what a trainer did, and the rule that explains them."""

from ddg_ref.conformance.reading import read
from ddg_ref.conformance.search import Verdict, identify
from ddg_ref.conformance.trace import Trace
from ddg_ref.conformance.writing import Recorder, write

__all__ = ["Recorder", "Trace", "Verdict", "identify", "read", "write"]
