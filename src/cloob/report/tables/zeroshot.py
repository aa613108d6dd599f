"""Zero-shot accuracies in percent, per test set and objective."""

from cloob.report.load.inputs import Inputs
from cloob.report.load.result_set import load_results
from cloob.report.registry import Entry
from cloob.report.tables.grid_tables import ACCURACY, Table, accuracy_table

TABLE = Entry(
    category="Zero-shot",
    help="zero-shot accuracy per test set",
    caption="Zero-shot accuracy of every objective on every test set, mean and standard deviation over "
    "seeds, compared with the paper's results.",
    inputs=("zeroshot", "logs", "paper"),
)


def build(inputs: Inputs) -> Table:
    """A section per corpus, architecture and epoch, a row per test set."""
    return accuracy_table(load_results(inputs), "zeroshot", "Zero-shot accuracy (%)", {ACCURACY: ""})
