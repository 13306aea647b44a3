"""The paper's experiments: `python -m ddg_ref reproduce`. Settings, runs, results; each in a file of its own."""
