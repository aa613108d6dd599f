"""Does an image find its caption among all, and a caption its image? Ranks and recall, in tiles."""

import torch
from torch import Tensor

_QUERIES, _TARGETS = 1024, 32768  # similarities held at once: 128 MB


def ranks_of_matches(
    queries: Tensor, targets: Tensor, matches: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """The rank (1 = best) of each query's best match among all targets that are no match of it.

    queries (Q, d), targets (T, d) -> (Q,) int64. `matches` are numbers of queries and of targets that belong
    together, at least one target for each query; if not given, query i and target i. Targets that tie with
    the match rank before it, and so do all where a similarity is no number: embeddings that collapsed find
    nothing.
    """
    if matches is None:
        both = torch.arange(len(queries), device=queries.device)
        matches = both, both
    of_query, of_target = matches
    ranks = []
    for top in range(0, len(queries), _QUERIES):
        rows = queries[top : top + _QUERIES]
        best = torch.full((len(rows), 1), -torch.inf, dtype=rows.dtype, device=rows.device)
        ahead = torch.ones(len(rows), dtype=torch.int64, device=rows.device)
        inside = (of_query >= top) & (of_query < top + len(rows))
        tiles = range(0, len(targets), _TARGETS)
        similar = torch.empty(0)
        for counting in (False, True):  # the same products twice, so that equal ones tie; once if all fit
            for left in tiles:
                if not counting or len(tiles) > 1:
                    similar = rows @ targets[left : left + _TARGETS].T
                here = inside & (of_target >= left) & (of_target < left + similar.shape[1])
                row, column = of_query[here] - top, of_target[here] - left
                if counting:
                    before = ~(similar < best)
                    before[row, column] = False
                    ahead += before.sum(dim=1)
                else:
                    best.scatter_reduce_(0, row[:, None], similar[row, column][:, None], "amax")
        ranks.append(ahead)
    return torch.cat(ranks)


def retrieval_metrics(image: Tensor, text: Tensor, image_of_text: Tensor | None = None) -> dict[str, float]:
    """R@1, R@5, R@10 (fractions), mean and median rank in both directions, as the authors report.

    image (M, d) and text (N, d) are normalized; `image_of_text` (N,) says which image a caption is of (if not
    given: caption i of image i). An image has found a caption with the first of its captions.
    """
    if image_of_text is None:
        image_of_text = torch.arange(len(text), device=text.device)
    caption = torch.arange(len(text), device=text.device)
    metrics: dict[str, float] = {}
    for name, queries, targets, matches in (
        ("image_to_text", image, text, (image_of_text, caption)),
        ("text_to_image", text, image, (caption, image_of_text)),
    ):
        ranks = ranks_of_matches(queries, targets, matches).double()
        for k in (1, 5, 10):
            metrics[f"{name}_r{k}"] = float((ranks <= k).double().mean())
        metrics[f"{name}_mean_rank"] = float(ranks.mean())
        metrics[f"{name}_median_rank"] = float(ranks.quantile(0.5))
    return metrics
