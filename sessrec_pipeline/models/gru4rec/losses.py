"""The losses of GRU4Rec with their gradients, computed in the memory of the scores.

Written out, because autograd would keep and pass over several more matrices of their size. Both are from Hidasi &
Karatzoglou (CIKM 2018, arXiv 1706.03847). The slots' targets are the first columns: that of row i is column
``first`` + i, where the rows are those of the slots from ``first`` on.

Names of sizes in comments: b rows, one for each session of the mini-batch, c scored columns.
"""

import math

import torch
from torch import Tensor

from sessrec_pipeline.models.gru4rec.scratch import Scratch


def cross_entropy(scores: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of scores (b, c), the target of row i in column first + i: sum over rows, gradient (b, c).

    The gradient takes the place of the scores.
    """
    scores.sub_(scores.amax(dim=1, keepdim=True))
    target = scores.diagonal(first).sum()
    total = scores.exp_().sum(dim=1, keepdim=True)
    loss = total.log().sum() - target
    gradient = scores.div_(total)
    gradient.diagonal(first).sub_(1)
    return loss, gradient


def bpr_max(
    scores: Tensor, log_count: Tensor, elu: float, bpreg: float, first: int = 0, scratch: Scratch | None = None
) -> tuple[Tensor, Tensor]:
    """BPR-max of scores (b, c), the target of row i in column first + i: sum over rows, gradient (b, c).

    With r = ELU(scores) and s the softmax of a row over its negatives, all columns but the target's, a row's loss is
    -log(sum_j s_j sigmoid(r_target - r_j)) + bpreg * sum_j s_j r_j^2. A row without negatives has no loss.

    log_count (c,): column j counts exp(log_count[j]) times. The scores are overwritten.
    """
    scratch = scratch or Scratch(scores)
    if scores.shape[1] == 1:
        return scores.new_zeros(()), torch.zeros_like(scores)
    r, s = scores, scratch.like("s", scores)
    if elu > 0:  # in vectorised pieces: torch's own elu takes three times as long
        negative = torch.clamp(scores, max=0, out=s).exp_()
        r = scores.clamp_(min=0).add_(negative, alpha=elu).sub_(elu)
    target = r.diagonal(first).clone().unsqueeze(1)  # (b, 1)
    torch.add(r, log_count, out=s)
    s.diagonal(first).fill_(-math.inf)
    s.sub_(s.amax(dim=1, keepdim=True)).exp_()
    s.div_(s.sum(dim=1, keepdim=True))
    sigma = torch.sub(target, r, out=scratch.like("sigma", s)).sigmoid_()
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
    gradient.diagonal(first).copy_(pulled.sum(dim=1) - 1)
    if elu > 0:
        torch.ops.aten.elu_backward.grad_input(gradient, elu, 1, 1, True, r, grad_input=s)  # True: from ELU's result
    return loss, gradient
