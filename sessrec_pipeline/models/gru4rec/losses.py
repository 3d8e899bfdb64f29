"""The losses of GRU4Rec with their gradients, computed in memory that all steps share.

Written out, because autograd would keep and pass over several more matrices of their size. Both are from Hidasi &
Karatzoglou (CIKM 2018, arXiv 1706.03847).

Names of sizes in comments: b rows, one for each session of the mini-batch, c scored columns.
"""

import torch
from torch import Tensor

from sessrec_pipeline.models.gru4rec.scratch import Scratch


def cross_entropy(scores: Tensor, place: Tensor, scratch: Scratch | None = None) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of scores (b, c), targets in the columns place (b,): sum over rows, gradient (b, c).

    No row has a loss above 87, where the target's share of the softmax underflows.
    """
    scratch = scratch or Scratch(scores)
    share = torch.softmax(scores, dim=1, out=scratch.like("softmax", scores))  # one pass: its parts take twice as long
    loss = -share.gather(1, place[:, None]).clamp_(min=torch.finfo(scores.dtype).tiny).log().sum()
    gradient = share.scatter_add_(1, place[:, None], share.new_full((len(share), 1), -1))
    return loss, gradient


def bpr_max(
    scores: Tensor, place: Tensor, log_count: Tensor, elu: float, bpreg: float, scratch: Scratch | None = None
) -> tuple[Tensor, Tensor]:
    """BPR-max of scores (b, c), targets in the columns place (b,): sum over rows, gradient (b, c).

    With r = ELU(scores) and s the softmax of a row over its negatives, a row's loss is
    -log(sum_j s_j sigmoid(r_target - r_j)) + bpreg * sum_j s_j r_j^2. A row without negatives has no loss.

    log_count (c,): column j counts exp(log_count[j]) times; that of a row's target is its target once, and a negative
    all other times. The scores are overwritten.
    """
    scratch = scratch or Scratch(scores)
    place = place[:, None]
    r, masked, s = scores, scratch.like("masked", scores), scratch.like("softmax", scores)
    if elu > 0:  # in vectorised pieces: torch's own elu takes three times as long
        negative = torch.clamp(scores, max=0, out=s).exp_()
        r = scores.clamp_(min=0).add_(negative, alpha=elu).sub_(elu)
    target = r.gather(1, place)  # (b, 1)
    torch.add(r, log_count, out=masked).scatter_(1, place, target + log_count[place].expm1().log())
    torch.softmax(masked, dim=1, out=s)
    sigma = torch.sub(target, r, out=masked).sigmoid_()
    s_sigma = torch.mul(s, sigma, out=scratch.like("s_sigma", s))
    s_r = torch.mul(s, r, out=scratch.like("s_r", s))
    # Where p underflows, the gradient below still comes out at its limit: s_j for the negatives, -1 for the target.
    p = s_sigma.sum(dim=1, keepdim=True).clamp_(min=torch.finfo(s.dtype).tiny)
    s_rr = torch.mul(s_r, r, out=scratch.like("s_rr", s))
    penalty = s_rr.sum(dim=1, keepdim=True)
    loss = (bpreg * penalty - p.log()).sum()

    # Of a negative: s_j - s_j sigma_j^2 / p + bpreg s_j (r_j^2 + 2 r_j - penalty). The target takes minus the sum of
    # the first two terms, because p does not change when all of a row's scores shift alike.
    pulled = s_sigma.mul_(sigma).div_(p)
    gradient = s.mul_(1 - bpreg * penalty).add_(s_rr.add_(s_r, alpha=2), alpha=bpreg).sub_(pulled)
    gradient.scatter_add_(1, place, pulled.sum(dim=1, keepdim=True) - 1)
    if elu > 0:
        torch.ops.aten.elu_backward.grad_input(gradient, elu, 1, 1, True, r, grad_input=s)  # True: from ELU's result
    if scores.shape[1] == 1:  # the softmax of no negative was NaN
        return torch.where(log_count[0] > 0, loss, 0), torch.where(log_count > 0, gradient, 0)
    return loss, gradient
