"""Image-text retrieval: ranks and recall in both directions, tile by tile."""

import torch
from torch import Tensor

_QUERIES, _TARGETS = 1024, 32768  # tile of similarities: 128 MB


def match_ranks(queries: Tensor, targets: Tensor, matches: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The rank (1 = best) of each query's most similar match among all targets that do not match it.

    queries (Q, d), targets (T, d) -> (Q,) int64. `matches` are the query indices and target indices of the
    matching pairs, with at least one target for each query; default: query i and target i. Targets that tie
    with the match rank before it, and so do NaN similarities: collapsed embeddings retrieve nothing.
    """
    if matches is None:
        indices = torch.arange(len(queries), device=queries.device)
        matches = indices, indices
    match_query, match_target = matches
    all_ranks = []
    for top in range(0, len(queries), _QUERIES):
        rows = queries[top : top + _QUERIES]
        best_match = torch.full((len(rows), 1), -torch.inf, dtype=rows.dtype, device=rows.device)
        ranks = torch.ones(len(rows), dtype=torch.int64, device=rows.device)
        in_rows = (match_query >= top) & (match_query < top + len(rows))
        tile_starts = range(0, len(targets), _TARGETS)
        similarity = torch.empty(0)
        # Two passes: find the best match, then count the targets before it. Both use the same products, so
        # that ties are exact; they are computed once if they fit into one tile.
        for counting in (False, True):
            for left in tile_starts:
                if not counting or len(tile_starts) > 1:
                    similarity = rows @ targets[left : left + _TARGETS].T
                in_columns = (match_target >= left) & (match_target < left + similarity.shape[1])
                in_tile = in_rows & in_columns
                row, column = match_query[in_tile] - top, match_target[in_tile] - left
                if counting:
                    before = ~(similarity < best_match)
                    before[row, column] = False
                    ranks += before.sum(dim=1)
                else:
                    best_match.scatter_reduce_(0, row[:, None], similarity[row, column][:, None], "amax")
        all_ranks.append(ranks)
    return torch.cat(all_ranks)


def retrieval_metrics(image: Tensor, text: Tensor, image_of_text: Tensor | None = None) -> dict[str, float]:
    """R@1, R@5, R@10 (fractions), mean and median rank in both directions, as the authors report.

    image (M, d) and text (N, d) are L2-normalized; `image_of_text` (N,) is the image index of each caption
    (default: caption i of image i). The rank of an image is that of its best-ranked caption.
    """
    if image_of_text is None:
        image_of_text = torch.arange(len(text), device=text.device)
    caption = torch.arange(len(text), device=text.device)
    metrics: dict[str, float] = {}
    for name, queries, targets, matches in (
        ("image_to_text", image, text, (image_of_text, caption)),
        ("text_to_image", text, image, (caption, image_of_text)),
    ):
        ranks = match_ranks(queries, targets, matches).double()
        for k in (1, 5, 10):
            metrics[f"{name}_r{k}"] = float((ranks <= k).double().mean())
        metrics[f"{name}_mean_rank"] = float(ranks.mean())
        metrics[f"{name}_median_rank"] = float(ranks.quantile(0.5))
    return metrics
