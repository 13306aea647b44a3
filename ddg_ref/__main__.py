"""`python -m ddg_ref`."""

from ddg_ref.cli.main import main

if __name__ == "__main__":
    main()
