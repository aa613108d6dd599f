"""One module per figure, named as the figure: `read` gives the data behind it, `draw` the figure."""

from cloob.report.figures import (
    ajne,
    effective_eigenvalues,
    effective_eigenvalues_epochs,
    fates,
    pipeline,
    predictions,
    saturation,
    similarities,
    spectra,
    throughput,
    training_curves,
    zeroshot,
)

FIGURES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        ajne,
        effective_eigenvalues,
        effective_eigenvalues_epochs,
        fates,
        pipeline,
        predictions,
        saturation,
        similarities,
        spectra,
        throughput,
        training_curves,
        zeroshot,
    )
}
