"""Hyper-parameters of GRU4Rec."""

from typing import Annotated, Literal

from pydantic import Field

from sessrec_pipeline.models.base import TrainedSettings


class GRU4RecSettings(TrainedSettings):
    """Hyper-parameters of GRU4Rec; the names are those of Hidasi & Karatzoglou (CIKM 2018)."""

    layers: list[Annotated[int, Field(ge=1)]] = Field(default=[100], min_length=1)
    """Units of each GRU layer."""
    embedding: Literal["shared", "separate", "none"] = "shared"
    """Input vectors: the output table itself, a table of their own (``layers[0]`` wide), or one-hot."""
    loss: Literal["cross-entropy", "bpr-max"] = "bpr-max"
    """Training loss over the target and the negatives."""
    batch_size: Annotated[int, Field(ge=1)] = 50
    """Sessions that train in parallel; also the divisor of the summed loss."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Step of Adagrad."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of the Adagrad update."""
    dropout_embedding: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a component of the input vector is dropped."""
    dropout_hidden: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a component of a layer's output, which is also its next state, is dropped."""
    n_sample: Annotated[int, Field(ge=0)] = 2048
    """Negatives drawn per mini-batch beside the other targets of the mini-batch."""
    sample_alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Negatives are drawn in proportion to support ** sample_alpha."""
    bpreg: Annotated[float, Field(ge=0)] = 1.0
    """Weight of BPR-max's regulariser of the negatives' scores."""
    elu_param: Annotated[float, Field(ge=0)] = 0.5
    """ELU over the scores for BPR-max; 0 leaves them linear."""
    logq: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the logQ correction of sampled scores, cross-entropy only."""
