"""Exercises in nbgrader's format: sources, wrong answers, and the check that grades both."""
