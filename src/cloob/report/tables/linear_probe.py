"""Linear-probe accuracies in percent, per test set, objective and kind of features."""

from cloob.report.load.inputs import Inputs
from cloob.report.load.result_files import read_result
from cloob.report.load.result_set import load_results
from cloob.report.names import features_title
from cloob.report.registry import Entry
from cloob.report.tables.grid_tables import ACCURACY, Table, accuracy_table

TABLE = Entry(
    category="Linear probe",
    help="linear-probe accuracy per test set",
    caption="Accuracy of a linear classifier on the frozen image features, for every objective and test set, "
    "compared with the paper's results.",
    inputs=("linear_probe", "logs", "paper"),
    requires="probe",
)
NOT_CONVERGED = "The logistic regression did not converge (see the warnings in the logs of these jobs)"


def build(inputs: Inputs) -> Table:
    """A section per corpus, architecture, epoch and kind of features, a row per test set."""
    results = load_results(inputs)
    metrics, not_converged = {ACCURACY: ""}, []
    for path in results.available[results.available.protocol == "linear_probe"].path:
        result = read_result(path, "linear_probe", keys=["metrics", "probes"])
        if not all(probe.get("converged", True) for probe in result["probes"]):
            not_converged.append(f"{result['run']['name']}, epoch {result['epoch']}, {result['dataset']}")
        # The first features are the same in all files: see `read_long_table`.
        for index, probe in enumerate(result["probes"]):
            metric = f"{ACCURACY}_{probe['features']}" if index else ACCURACY
            metrics[metric] = f", {features_title(probe['features'])}"
    remarks = [(f"{NOT_CONVERGED}: {'; '.join(not_converged)}.",)] if not_converged else []
    return accuracy_table(results, "linear_probe", "Linear-probe accuracy (%)", metrics, remarks)
