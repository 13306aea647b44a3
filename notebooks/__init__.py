"""The course. Each lesson is a text, `NN_slug.md`, and the same cells with their outputs, `NN_slug.ipynb`."""

LESSONS = (
    "01_backpropagation_by_hand",
    "02_three_locks",
    "03_an_error_gradient_that_arrives_late",
    "04_which_weights",
    "05_the_drained_pipeline",
    "06_what_the_theorem_says",
    "07_threads_queues_and_time",
    "08_many_devices",
    "09_does_it_learn",
    "10_pipelines_in_2026",
)
"""All lessons, in order. One that has no file fails the check, and so does a file that is not listed."""

METADATA = {
    "jupytext": {"formats": "ipynb,md:myst"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
"""Of every notebook here. Jupytext takes the word after `{code-cell}` from the lexer."""
