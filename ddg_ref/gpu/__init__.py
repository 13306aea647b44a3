"""GPUs, through CuPy."""
