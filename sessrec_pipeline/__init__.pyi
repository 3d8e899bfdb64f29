"""Made from the models' cards by ``python -m sessrec_pipeline.api.stub``; do not edit."""

from typing import Literal

from sessrec_pipeline.api import Events as Events
from sessrec_pipeline.api import FrameError as FrameError
from sessrec_pipeline.api import Model as Model
from sessrec_pipeline.api import compare as compare
from sessrec_pipeline.api import evaluate as evaluate
from sessrec_pipeline.api import load as load
from sessrec_pipeline.api import model as model
from sessrec_pipeline.api import temporal_split as temporal_split

__version__: str

class Popularity(Model):
    """Popularity: items by their number of training events.

    Settings
    --------
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class RecentPopularity(Model):
    """Recent popularity: items by training events of the last days, the rest by all events.

    Source: Ludewig, Mauro, Latifi, Jannach: Empirical analysis of session-based recommendation algorithms. UMUAI
    31, 2021, arXiv 1910.12781.

    Settings
    --------
    days : float, default 1
        Length of the window that ends with the last training event.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        days: float = 1,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class SessionPopularity(Model):
    """Session popularity: the items of the session itself, by how often they occur in it.

    Source: S-POP of Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural
    networks. ICLR 2016, arXiv 1511.06939.

    Settings
    --------
    padding : bool, default True
        Rank the items that are not in the session by popularity; without it they all tie at zero.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        padding: bool = True,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class Markov(Model):
    """Markov: what followed the current item in training, most often first.

    Source: the reproduction study that this project follows.

    Settings
    --------
    alpha : float, default 0.0
        Weight of popularity in the blend: 0 is pure Markov, 1 pure popularity.
    padding : bool, default True
        Rank the items that never followed the current one by popularity; without it they all tie at zero.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.0,
        padding: bool = True,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class AR(Model):
    """AR: items that share a session with the current one.

    Source: Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv
    1803.09587.

    Settings
    --------
    pruning : int, default 20
        Rules kept for each item, the strongest ones.
    padding : bool, default True
        Rank the items without a rule by popularity; without it they all tie at zero.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        pruning: int = 20,
        padding: bool = True,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class SR(Model):
    """SR: items that came a few events after the current one.

    Source: Kamehkhosh, Jannach, Ludewig: A comparison of frequent pattern techniques and a deep learning method
    for session-based recommendation. RecTemp at RecSys 2017.

    Settings
    --------
    steps : int, default 10
        How many events after an item its rules look.
    weighting : Literal["div", "linear", "quadratic", "log", "same"], default 'div'
        What a pair of items d steps apart weighs: 1/d, 1 - d/10 (0 from 10 on), 1/d**2, 1/log10(d + 1.7), 1.
    pruning : int, default 20
        Rules kept for each item, the strongest ones.
    padding : bool, default True
        Rank the items without a rule by popularity; without it they all tie at zero.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        weighting: Literal["div", "linear", "quadratic", "log", "same"] = "div",
        pruning: int = 20,
        padding: bool = True,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class ItemKNN(Model):
    """Item-KNN: items whose training sessions are much the same as those of the current one.

    Source: Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural networks.
    ICLR 2016, arXiv 1511.06939.

    Settings
    --------
    neighbours : int, default 100
        Most similar items kept for each item.
    regularisation : float, default 20
        Sessions added to those of each item under the root of the cosine: rare items look less alike by
        chance.
    padding : bool, default True
        Rank the items that are not similar by popularity; without it they all tie at zero.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        neighbours: int = 100,
        regularisation: float = 20,
        padding: bool = True,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class SKNN(Model):
    """SKNN: items of training sessions that share items with the current one, by the cosine of the sets of items.

    Source: Jannach, Ludewig: When recurrent neural networks meet the neighborhood for session-based
    recommendation. RecSys 2017.

    Settings
    --------
    k : int, default 100
        Neighbours: most similar sessions of the sample that score items, the most recent ones among equals.
    sample_size : int, default 500
        The sample: most recent training sessions that share an item with the current one.
    repeat_current : bool, default True
        Score the current item as any other. It is in most neighbours and stands first in most lists: turn it
        off where no item follows itself, as after ``[sessions] drop_consecutive_repeats``.
    padding : bool, default True
        Rank the items that no neighbour scores by popularity; without it they all tie at zero.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        k: int = 100,
        sample_size: int = 500,
        repeat_current: bool = True,
        padding: bool = True,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class VSKNN(Model):
    """VS-KNN: SKNN that stresses the last events of the current session.

    Source: Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv
    1803.09587.

    Settings
    --------
    k : int, default 500
        Neighbours: most similar sessions of the sample that score items, the most recent ones among equals.
    sample_size : int, default 5000
        The sample: most recent training sessions that share an item with the current one.
    repeat_current : bool, default True
        Score the current item as any other. It is in most neighbours and stands first in most lists: turn it
        off where no item follows itself, as after ``[sessions] drop_consecutive_repeats``.
    padding : bool, default True
        Rank the items that no neighbour scores by popularity; without it they all tie at zero.
    weighting : Literal["div", "linear", "quadratic", "log", "same"], default 'quadratic'
        What event i of n in the current session weighs in the similarity: i/n, 1 - (n - i)/10 (0 from 10
        events back on), (i/n)**2, 1/log10(n - i + 1.7), 1.
    weighting_score : Literal["div", "linear", "quadratic", "log", "same"], default 'div'
        What a neighbour weighs whose most recent shared item is j-th from the end of the current session:
        1/j, 1 - j/10 (0 from j = 10 on), 1/j**2, 1/log10(j + 1.7), 1.
    idf_weighting : float, default 5
        An item's score is multiplied by 1 + idf_weighting * idf; 0 leaves it.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        k: int = 500,
        sample_size: int = 5000,
        repeat_current: bool = True,
        padding: bool = True,
        weighting: Literal["div", "linear", "quadratic", "log", "same"] = "quadratic",
        weighting_score: Literal["div", "linear", "quadratic", "log", "same"] = "div",
        idf_weighting: float = 5,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class STAN(Model):
    """STAN: SKNN in which position and age of what is shared fade exponentially.

    Source: Garg, Gupta, Malhotra, Vig, Shroff: Sequence and time aware neighborhood for session-based
    recommendations. SIGIR 2019.

    Settings
    --------
    k : int, default 500
        Neighbours: most similar sessions of the sample that score items, the most recent ones among equals.
    sample_size : int, default 5000
        The sample: most recent training sessions that share an item with the current one.
    repeat_current : bool, default True
        Score the current item as any other. It is in most neighbours and stands first in most lists: turn it
        off where no item follows itself, as after ``[sessions] drop_consecutive_repeats``.
    padding : bool, default True
        Rank the items that no neighbour scores by popularity; without it they all tie at zero.
    lambda_spw : float, default 1.02
        Events over which the weight of an event of the current session fades by a factor e.
    lambda_snh : float, default 5
        Days over which the weight of a training session fades by a factor e.
    lambda_inh : float, default 2.05
        Events of a neighbour, counted from its most recent shared item, over which its items' weight fades by
        e.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        k: int = 500,
        sample_size: int = 5000,
        repeat_current: bool = True,
        padding: bool = True,
        lambda_spw: float = 1.02,
        lambda_snh: float = 5,
        lambda_inh: float = 2.05,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class VSTAN(Model):
    """VSTAN: STAN with the ideas of VS-KNN.

    Source: Ludewig, Mauro, Latifi, Jannach: Empirical analysis of session-based recommendation algorithms. UMUAI
    31, 2021, arXiv 1910.12781.

    Settings
    --------
    k : int, default 500
        Neighbours: most similar sessions of the sample that score items, the most recent ones among equals.
    sample_size : int, default 5000
        The sample: most recent training sessions that share an item with the current one.
    repeat_current : bool, default True
        Score the current item as any other. It is in most neighbours and stands first in most lists: turn it
        off where no item follows itself, as after ``[sessions] drop_consecutive_repeats``.
    padding : bool, default True
        Rank the items that no neighbour scores by popularity; without it they all tie at zero.
    lambda_spw : float, default 1.02
        Events over which the weight of an event of the current session fades by a factor e.
    lambda_snh : float, default 5
        Days over which the weight of a training session fades by a factor e.
    lambda_inh : float, default 2.05
        Events of a neighbour, counted from its most recent shared item, over which its items' weight fades by
        e.
    lambda_ipw : float, default 1.02
        Events from the end of the current session over which the weight of a neighbour's shared item fades by
        e.
    lambda_idf : float, default 5
        An item's score is multiplied by 1 + lambda_idf * idf; 0 leaves it.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        k: int = 500,
        sample_size: int = 5000,
        repeat_current: bool = True,
        padding: bool = True,
        lambda_spw: float = 1.02,
        lambda_snh: float = 5,
        lambda_inh: float = 2.05,
        lambda_ipw: float = 1.02,
        lambda_idf: float = 5,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class GRU4Rec(Model):
    """GRU4Rec: a gated recurrent network over the events of the session.

    Source: Hidasi, Karatzoglou: Recurrent neural networks with top-k gains for session-based recommendations.
    CIKM 2018, arXiv 1706.03847.

    Settings
    --------
    n_epochs : int, default 5
        Passes over the training sessions.
    seed : int, default 42
        Seed of all that is drawn in training.
    layers : list[int], default [100]
        Units of each GRU layer.
    embedding : Literal["shared", "separate", "none"], default 'shared'
        Input vectors: the output table itself, a table of their own (``layers[0]`` wide), or one-hot.
    loss : Literal["cross-entropy", "bpr-max"], default 'bpr-max'
        Training loss over the target and the negatives.
    batch_size : int, default 50
        Sessions that train in parallel; also the divisor of the summed loss.
    learning_rate : float, default 0.05
        Step of Adagrad.
    momentum : float, default 0.0
        Momentum of the Adagrad update.
    dropout_embedding : float, default 0.0
        Probability that a component of the input vector is dropped.
    dropout_hidden : float, default 0.0
        Probability that a component of a layer's output, which is also its next state, is dropped.
    n_sample : int, default 2048
        Negatives drawn per mini-batch beside the other targets of the mini-batch.
    sample_alpha : float, default 0.5
        Negatives are drawn in proportion to support ** sample_alpha.
    bpreg : float, default 1.0
        Weight of BPR-max's regulariser of the negatives' scores.
    elu_param : float, default 0.5
        ELU over the scores for BPR-max; 0 leaves them linear.
    logq : float, default 0.0
        Weight of the logQ correction of sampled scores, cross-entropy only.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        Where it is fitted and asked: auto takes a GPU where there is one.
    """

    def __init__(
        self,
        *,
        n_epochs: int = 5,
        seed: int = 42,
        layers: list[int] = [100],
        embedding: Literal["shared", "separate", "none"] = "shared",
        loss: Literal["cross-entropy", "bpr-max"] = "bpr-max",
        batch_size: int = 50,
        learning_rate: float = 0.05,
        momentum: float = 0.0,
        dropout_embedding: float = 0.0,
        dropout_hidden: float = 0.0,
        n_sample: int = 2048,
        sample_alpha: float = 0.5,
        bpreg: float = 1.0,
        elu_param: float = 0.5,
        logq: float = 0.0,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...

class Oracle(Model):
    """Oracle: the true probabilities of the generator, the best that any model could do.

    Settings
    --------
    kind : Literal["demo", "null"], default 'demo'
        demo: sessions with long-range structure; null: independent draws, in which there is nothing to learn.
    sessions : int, default 1000
        Sessions to generate.
    items : int, default 500
        Items of the catalogue.
    days : int, default 10
        Daily logs over which the sessions spread.
    seed : int, default 42
        Seed of the law and of the draws.
    device : Literal["auto", "cpu", "cuda"], default 'auto'
        No effect: this model runs on the CPU.
    """

    def __init__(
        self,
        *,
        kind: Literal["demo", "null"] = "demo",
        sessions: int = 1000,
        items: int = 500,
        days: int = 10,
        seed: int = 42,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None: ...
