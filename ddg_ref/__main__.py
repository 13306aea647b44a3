"""`python -m ddg_ref`."""

from ddg_ref.cli import main

main()
