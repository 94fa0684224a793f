"""The random walk over pixel affinities (IRN: Ahn et al., CVPR 2019, section 4.3), exact and sparse; docs/method.md 6.

The published program squares a dense (hw) x (hw) transition matrix T `exp_times` times. Here no matrix is ever made:

*   An affinity reaches only as far as `radius`, so T is a *stencil*: one map of weights for each offset, applied by
    shifting maps. A pair's weight is stored once for both of its directions.
*   T is similar to a symmetric S with eigenvalues in [-1, 1], and on that interval x^n is a short sum of Chebyshev
    polynomials: x^n = sum_k a_k T_k(x) with all a_k >= 0 and sum_k a_k = 1. The last a_k, of a sum of at most
    `TRUNCATION`, are left out. As |T_k| <= 1, the error is at most twice that. T^256 takes 78 products instead of 256.
*   On a GPU, where starting an operation costs more than it does, a batch has as many images as fit.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from models.pairs import pair_offsets, path_maxima

# Of the polynomial, in the norm weighted by degrees; float32 rounding adds about 1e-4 of a map's value.
TRUNCATION = 1e-6

CHUNK = 2**22  # similarities of features held at a time

# Weights of pairs in a batch of images; 0: one image, because on a CPU several are no faster.
MOST_WEIGHTS = {"cpu": 0, "cuda": 2**25}  # 60 images of 500 x 500 pixels, 0.5 GB with all that is computed of them
MOST_PADDED = 2  # values of the maps of a batch, padded, for each of their own


def random_walk(
    cams: Sequence[Tensor], edges: Sequence[Tensor], *, radius: int = 5, beta: float = 10.0, exp_times: int = 8
) -> list[Tensor]:
    """(cam * (1 - edge)) T^(2^exp_times) of each image, the maps after a walk that boundaries stop.

    T is affinity^beta with each column divided by its sum. The affinity of a pair is 1 - the highest boundary between
    the two, 1 of a cell with itself, and 0 where the path leaves the image.

    Args:
        cams: (K, h, w) float maps of each image, all on one device; K may be 0, and K, h, w differ between images.
        edges: (h, w) boundary probability in 0..1 of each.
        radius: of the pairs, exclusive; at least 2.

    Returns:
        float32, as `cams`, not normalised. The same whichever images walk together, up to the rounding of powers (one
        unit in the last digit of a weight).
    """
    walked: dict[int, Tensor] = {}
    for batch in _batches(cams, len(pair_offsets(radius))):
        maps, boundaries = _padded([cams[index] for index in batch], [edges[index] for index in batch])
        with torch.autocast(maps.device.type, enabled=False):
            found = _walk(maps, boundaries, radius, beta, 2**exp_times).view(maps.shape)
        for index, own in zip(batch, found, strict=True):
            count, height, width = cams[index].shape
            walked[index] = own[:count, :height, :width].contiguous()
    return [walked[index] for index in range(len(cams))]


def feature_walk(
    maps: Tensor,
    unit: Tensor,
    *,
    power: float = 8.0,
    steps: int = 4,
    keep: float = 0.8,
    hold: Callable[[Tensor], Tensor] | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """A walk that needs no training: over the similarity of a classifier's own features.

    x_{s+1} = keep * T x_s + (1 - keep) * x_0 with T_ij = S_ij / sum_j S_ij and S_ij = max(0, f_i . f_j)^power, between
    all cells. S is never held whole: memory grows with the cells, not with their square.

    Args:
        maps: x_0, (K, h, w); what is returned has this shape, too, and is not normalised.
        unit: f, (D, h, w), of unit length at each cell.
        hold: called after each step, to put known values into the maps (`models.hints`).
        weights: w_j, (h, w): with them T_ij is w_j S_ij / sum_j w_j S_ij (docs/hints.md); None: 1.
    """
    with torch.autocast(maps.device.type, enabled=False):
        features, start = unit.flatten(1), maps.flatten(1)
        flat_weights = None if weights is None else weights.flatten()
        walked = start
        for _ in range(steps):
            sums, total = similar_sums(walked, features, power, flat_weights)
            # A cell without features is similar to none: its total is 0, and so is its sum.
            walked = keep * (sums / total.clamp_min(torch.finfo(maps.dtype).tiny)) + (1 - keep) * start
            if hold is not None:
                walked = hold(walked.view(maps.shape)).flatten(1)
        return walked.view(maps.shape)


def similar_sums(
    values: Tensor, features: Tensor, power: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """For each cell i the sums over all cells j of w_j S_ij x_j, (K, N), and of w_j S_ij, (N,).

    S_ij = max(0, f_i . f_j)^power, with values x (K, N), features f (D, N) of unit length at each cell, and weights
    w (N,), None: 1. S is never held whole.
    """
    cells = features.shape[1]
    sums, totals = [], []
    for part in features.split(max(1, CHUNK // cells), dim=1):
        similarity = (part.T @ features).clamp_min_(0).pow_(power)
        if weights is not None:
            similarity *= weights
        sums.append(values @ similarity.T)
        totals.append(similarity.sum(dim=1))
    return torch.cat(sums, dim=1), torch.cat(totals)


def chebyshev_coefficients(power: int) -> list[float]:
    """a_0..a_m with |x^power - sum_k a_k T_k(x)| <= 2 * TRUNCATION on [-1, 1]; they are positive (or 0) and sum to 1.

    a_k is the chance that `power` fair steps of +-1 end at k or -k. The cut tail is at most `TRUNCATION`, and is spread
    over what is kept, so that a constant map stays as it is.
    """
    log_total = power * math.log(2)
    coefficients = [0.0] * (power + 1)
    for k in range(power % 2, power + 1, 2):
        ways = math.lgamma(power + 1) - math.lgamma((power - k) // 2 + 1) - math.lgamma((power + k) // 2 + 1)
        coefficients[k] = math.exp(ways - log_total) * (2 if k else 1)
    tail = 0.0
    while len(coefficients) > 1 and tail + coefficients[-1] <= TRUNCATION:
        tail += coefficients.pop()
    kept = sum(coefficients)
    return [coefficient / kept for coefficient in coefficients]


def _batches(cams: Sequence[Tensor], pairs: int) -> list[list[int]]:
    """The indices of images that walk together: of similar size, because they are padded to one."""
    batches: list[list[int]] = []
    for index in sorted(range(len(cams)), key=lambda index: cams[index].numel()):
        wider = [*batches[-1], index] if batches else [index]
        count, height, width = torch.tensor([cams[other].shape for other in wider]).amax(dim=0).tolist()
        padded_cells = len(wider) * height * width
        own_values = sum(cams[other].numel() for other in wider)
        most = MOST_WEIGHTS.get(cams[index].device.type, 0)
        if batches and padded_cells * pairs <= most and padded_cells * count <= MOST_PADDED * own_values:
            batches[-1] = wider
        else:
            batches.append([index])
    return batches


def _padded(cams: Sequence[Tensor], edges: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Maps (B, K, h, w) and boundaries (B, h, w), float32 on one device; a closed boundary lies around the images."""
    count, height, width = torch.tensor([maps.shape for maps in cams]).amax(dim=0).tolist()

    def grown(image: Tensor, value: float) -> Tensor:
        return pad(image.float(), (0, width - image.shape[-1], 0, height - image.shape[-2]), value=value)

    maps = [pad(grown(own, 0.0), (0, 0, 0, 0, 0, count - len(own))) for own in cams]
    return torch.stack(maps), torch.stack([grown(edge.to(cams[0].device), 1.0) for edge in edges])


def _walk(cams: Tensor, edge: Tensor, radius: int, beta: float, steps: int) -> Tensor:
    """Flat maps (B, K, h * w) of (B, K, h, w) after `steps` steps over boundaries (B, h, w)."""
    batch, count, height, width = cams.shape
    cells, reach = height * width, radius - 1
    # Maps lie flat, so that a shift in y and x is one offset; where that wraps around the image, the weight is 0.
    offsets = [dy * width + dx for dy, dx in pair_offsets(radius)]
    margin = reach * width + reach
    start = (cams * (1 - edge).unsqueeze(1)).flatten(2)
    # Pairs lie to both sides and below, never above (models.pairs).
    affinity = 1 - path_maxima(pad(edge, (reach, reach, 0, reach), value=1.0), radius)
    weights = torch.where(affinity > 0, affinity.pow(beta), 0.0).flatten(2)  # beta may be 0, and 0^0 would be 1

    root = _degree(weights, offsets, margin).rsqrt().float()  # D^-1/2
    # 2 S = 2 D^-1/2 W D^-1/2, for the recurrence T_{k+1} = 2 S T_k - T_{k-1}: the diagonal, then one map per offset.
    padded_root = pad(root, (margin, margin))
    twice = [(2 * root * root).unsqueeze(1)]
    for weight, offset in zip(weights.unbind(dim=1), offsets, strict=True):
        root_of_other = padded_root[:, margin + offset : margin + offset + cells]
        twice.append(weight.mul_(root).mul_(root_of_other).mul_(2).unsqueeze(1))

    # x T^n = ((x D^1/2) S^n) D^-1/2 for a flat map x, since T = W D^-1.
    start = start / root.unsqueeze(1)
    # Buffer 0 holds T_k of even k, buffer 1 of odd k. T_{k+1} is made in place of T_{k-1}.
    buffers = [pad(start, (margin, margin)), start.new_zeros((batch, count, cells + 2 * margin))]
    from_even = _products(buffers[0], buffers[1], twice, offsets, margin)
    from_odd = _products(buffers[1], buffers[0], twice, offsets, margin)
    coefficients = chebyshev_coefficients(steps)
    result = coefficients[0] * start
    for k in range(1, len(coefficients)):
        current = buffers[k % 2]
        current.neg_()
        for target, weight, source in from_even if k % 2 else from_odd:
            target.addcmul_(weight, source)
        if k == 1:
            current.mul_(0.5)  # T_1 = S T_0, not 2 S T_0
        if coefficients[k]:  # every second one is 0
            result.add_(current[..., margin : margin + cells], alpha=coefficients[k])
    return result * root.unsqueeze(1)


def _products(
    source: Tensor, target: Tensor, twice: Sequence[Tensor], offsets: Sequence[int], margin: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Views (t, w, s) such that adding all products w * s to t adds 2 S source to the target; flat maps are shifted."""
    cells = source.shape[-1] - 2 * margin

    def shifted(maps: Tensor, offset: int) -> Tensor:
        return maps[..., margin + offset : margin + offset + cells]

    products = [(shifted(target, 0), twice[0], shifted(source, 0))]
    for weight, offset in zip(twice[1:], offsets, strict=True):
        # Both directions in turn: the second finds the weights in the cache.
        products.append((shifted(target, 0), weight, shifted(source, offset)))
        products.append((shifted(target, offset), weight, shifted(source, 0)))
    return products


def _degree(weights: Tensor, offsets: Sequence[int], margin: int) -> Tensor:
    """(B, cells) sums of the affinity matrix's rows. In float64: every step of the walk repeats the error."""
    cells = weights.shape[-1]
    total = weights.new_zeros((weights.shape[0], cells + 2 * margin), dtype=torch.float64)
    total[:, margin : margin + cells] = 1
    for weight, offset in zip(weights.unbind(dim=1), offsets, strict=True):
        total[:, margin : margin + cells] += weight
        total[:, margin + offset : margin + offset + cells] += weight
    return total[:, margin : margin + cells]
