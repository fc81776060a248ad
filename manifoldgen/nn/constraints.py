"""Mahalanobis distances with gradients, and losses that keep rows within one."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FORMS = ("quantile", "hinge", "mean")
"""Names of the forms of the constraint, see `DistanceConstraint`."""

AIM = 0.9
"""Share of the tolerance that is aimed at: at itself, every other epoch is beyond."""
_LEAST_SPEED = 0.1
_LARGEST_MULTIPLIER = 100.0  # of a constraint that cannot be kept it would have no end
_GAP_SHARE = 0.3
_LAW_SLACK = 2e-3  # laws as narrow as of distances in many columns, .1 apart
_LAW_SCALE = 10.0


class MahalanobisDistance(nn.Module):
    r"""Squared Mahalanobis distance of rows of features to data, or to their classes.

    .. math:: D_c^2(f) = |(f - \mu_c) W|^2, \quad
              D^2(f) = -\tau \log \sum_c \exp(-D_c^2(f) / \tau)

    The second is that to the nearest class, made smooth by the temperature tau; with
    tau = 0 it is the smallest. Features are centred in the dtype of the locations, so
    that a large mean costs no digits, and multiplied in that of the whitening matrix.

    Parameters
    ----------
    locations : Tensor of shape (n_classes, d)
        Mean of the features of each class; of one row for the data as a whole.
    whitening : Tensor of shape (d, n_out)
        W such that ``W Wᵀ`` is the inverse of the covariance, of all classes alike.
    temperature : float, default=0.0
        tau, >= 0, in units of the squared distance. Values are below the smallest by
        ``tau log(n_classes)`` at most.

    Examples
    --------
    >>> import torch
    >>> distance = MahalanobisDistance(torch.zeros(1, 2), torch.eye(2))
    >>> distance(torch.tensor([[3.0, 4.0]]))
    tensor([25.])
    """

    def __init__(
        self, locations: Tensor, whitening: Tensor, temperature: float = 0.0
    ) -> None:
        super().__init__()
        origin = locations.mean(dim=0, keepdim=True)
        places = ((locations - origin) @ whitening.to(locations.dtype)).to(whitening)
        self.register_buffer("origin", origin)
        self.register_buffer("places", places)
        self.register_buffer("whitening", whitening)
        self.temperature = temperature

    def to_classes(self, features: Tensor) -> Tensor:
        """Return squared distances to each class, (n, n_classes)."""
        white = self._whiten(features)
        return (white.unsqueeze(1) - cast(Tensor, self.places)).square().sum(dim=2)

    def forward(self, features: Tensor, codes: Tensor | None = None) -> Tensor:
        """Return the squared distance of each row, (n,).

        `codes`, of shape (n,), int64, are the classes to measure to; without them it is
        the nearest.
        """
        places = cast(Tensor, self.places)
        if codes is not None or len(places) == 1:
            mine = places if codes is None else places[codes]
            return (self._whiten(features) - mine).square().sum(dim=1)
        squared = self.to_classes(features)
        if not self.temperature:
            return squared.amin(dim=1)
        softest = torch.logsumexp(squared / -self.temperature, dim=1)
        return -self.temperature * softest

    def _whiten(self, features: Tensor) -> Tensor:
        origin, whitening = cast(Tensor, self.origin), cast(Tensor, self.whitening)
        return (features.to(origin.dtype) - origin).to(whitening.dtype) @ whitening


def mean_excess(squared: Tensor, epsilon: float) -> Tensor:
    """Return ``mean(D²) / epsilon² - 1``, at most 0 where rows keep it on average.

    Examples
    --------
    >>> mean_excess(torch.tensor([1.0, 4.0, 16.0]), epsilon=2.0)
    tensor(0.7500)
    """
    return squared.mean() / epsilon**2 - 1.0


def hinge_excess(squared: Tensor, epsilon: float) -> Tensor:
    """Return the mean of ``max(0, D² / epsilon² - 1)``, 0 where every row keeps it.

    Examples
    --------
    >>> hinge_excess(torch.tensor([1.0, 4.0, 16.0]), epsilon=2.0)
    tensor(1.)
    """
    return F.relu(squared / epsilon**2 - 1.0).mean()


def tail_excess(squared: Tensor, epsilon: float, tolerance: float) -> Tensor:
    """Return the mean of ``D² / epsilon² - 1`` over the share of rows that is farthest.

    The conditional value at risk [1]_: ``min_t t + mean(max(0, u - t)) / tolerance``
    for ``u = D² / epsilon² - 1``. The row at the edge of the share counts in part.
    Where it is 0, fewer rows than `tolerance` are beyond epsilon.

    Parameters
    ----------
    squared : Tensor of shape (n,)
        Squared distances.
    epsilon : float
        A distance, > 0.
    tolerance : float
        The share, in (0, 1].

    References
    ----------
    .. [1] R. T. Rockafellar, S. Uryasev, "Optimization of conditional value-at-risk",
       Journal of Risk 2, 2000, Eq. (4) and Theorem 1.

    Examples
    --------
    >>> tail_excess(torch.tensor([1.0, 4.0, 16.0, 8.0]), epsilon=2.0, tolerance=0.5)
    tensor(2.)
    """
    count = tolerance * len(squared)
    farthest = squared.topk(min(max(1, -int(-count // 1)), len(squared))).values
    weights = torch.ones_like(farthest)
    weights[-1] = count - (len(farthest) - 1)
    return (weights @ farthest) / (count * epsilon**2) - 1.0


def violation_rate(squared: Tensor, epsilon: float) -> Tensor:
    """Return the share of rows beyond epsilon."""
    return (squared > epsilon**2).to(squared.dtype).mean()


def law_distance(distances: Tensor, reference: Tensor) -> Tensor:
    """Return the energy distance of a sample of numbers to a law, unbiased.

    ``2 E|x - y| - E|x - x'| - E|y - y'|`` with x from the sample and y from the law,
    which gives equal weight to each of the numbers in `reference`: twice the integral
    of the squared difference of the two distribution functions [1]_. About 0, and
    often below, where the sample is from the law.

    Parameters
    ----------
    distances : Tensor of shape (n,)
        n >= 2.
    reference : Tensor of shape (m,)

    References
    ----------
    .. [1] G. Szekely, M. Rizzo, "Energy statistics: a class of statistics based on
       distances", Journal of Statistical Planning and Inference 143, 2013, Eq. (2.5).

    Examples
    --------
    >>> law_distance(torch.tensor([0.0, 2.0]), torch.tensor([1.0]))
    tensor(0.)
    """
    n = len(distances)
    across = (distances[:, None] - reference).abs().mean()
    within = (distances[:, None] - distances).abs().sum() / (n * (n - 1))
    return 2.0 * across - within - (reference[:, None] - reference).abs().mean()


class AugmentedLagrangian(nn.Module):
    r"""A multiplier that rises while a constraint is violated, and what it weighs.

    For a constraint g <= 0 with multiplier lambda and penalty weight rho,

    .. math:: \psi = \frac{\max(0, \lambda + \rho g)^2 - \lambda^2}{2 \rho}, \quad
              \lambda \leftarrow \max(0, \lambda + \eta \bar g)

    with the running average of g, since that of one batch is noisy [1]_. All that it
    remembers are buffers, so that it is saved, and rolled back, with the networks.

    Where g cannot be far below 0, as a share less a small tolerance cannot, a
    multiplier that rose in the first steps would take forever to fall. With a `unit` u
    it moves by as much in both directions, and the faster the larger it is,

    .. math:: \lambda \leftarrow \max(0, \lambda + \eta (\lambda + 0.1)
              \max(-1, \min(1, \bar g / u)))

    Parameters
    ----------
    multiplier : float, default=0.0
        lambda at first, >= 0.
    penalty : float, default=1.0
        rho, >= 0; with 0, psi is ``lambda g``.
    step : float, default=0.02
        eta, >= 0; with 0 the multiplier stays as it is, else it never exceeds 100.
    decay : float, default=0.9
        Weight of the past in the running average, in [0, 1), in the long run; at the
        n-th value it is at most ``n / (n + 10)``.
    unit : float, default=None
        u, > 0. None is the plain rule above.

    References
    ----------
    .. [1] R. T. Rockafellar, "The multiplier method of Hestenes and Powell applied to
       convex programming", Journal of Optimization Theory and Applications 12, 1973.

    Examples
    --------
    >>> held = AugmentedLagrangian(multiplier=1.0, penalty=2.0, step=0.5, decay=0.0)
    >>> held(torch.tensor(0.5)), held(torch.tensor(-1.0))
    (tensor(0.7500), tensor(-0.2500))
    >>> held.update(torch.tensor(0.5))
    >>> held.multiplier
    tensor(1.2500)
    """

    multiplier: Tensor
    average: Tensor
    n_updates: Tensor

    def __init__(
        self,
        multiplier: float = 0.0,
        penalty: float = 1.0,
        step: float = 0.02,
        decay: float = 0.9,
        unit: float | None = None,
    ) -> None:
        super().__init__()
        self.penalty, self.step, self.decay = penalty, step, decay
        self.unit = unit
        self.register_buffer("multiplier", torch.tensor(float(multiplier)))
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("n_updates", torch.zeros(()))

    def forward(self, violation: Tensor) -> Tensor:
        """Return psi for a violation g, a scalar."""
        if not self.penalty:
            return self.multiplier * violation
        shifted = F.relu(self.multiplier + self.penalty * violation)
        return (shifted.square() - self.multiplier.square()) / (2.0 * self.penalty)

    def weight(self) -> Tensor:
        """Return ``max(0, lambda + rho g)`` of the averaged g, the slope of psi."""
        return F.relu(self.multiplier + self.penalty * self.average)

    @torch.no_grad()
    def update(self, violation: Tensor) -> None:
        """Take a value of g into the average, and move the multiplier."""
        self.n_updates += 1.0
        decay = (self.n_updates / (self.n_updates + 10.0)).clamp(max=self.decay)
        self.average.lerp_(violation.to(self.average.dtype), 1.0 - decay)
        if not self.step:
            return  # a weight that was given may be above the bound of learned ones
        way = self.average
        if self.unit is not None:
            speed = _LEAST_SPEED + self.multiplier
            way = (self.average / self.unit).clamp(-1.0, 1.0) * speed
        self.multiplier.add_(way, alpha=self.step).clamp_(0.0, _LARGEST_MULTIPLIER)


class DistanceConstraint:
    r"""Holds made rows to a distance from the data, in a space of features.

    Rows made by a network should be beyond epsilon no oftener than `tolerance`. The
    share of those that are has no slope, so what rows descend and what moves the
    multiplier are two things, as in [1]_: rows descend

    .. math:: \max(0, \lambda + \rho \bar g) \, h(\min(D^2 / \epsilon^2,
              2 + \log(D^2 / \epsilon^2 - 1)))

    with h `tail_excess` of the tolerated share ("quantile"), `hinge_excess` ("hinge")
    or `mean_excess` ("mean"), and g is the share beyond epsilon less 0.9 of
    `tolerance`, or h itself where that is the mean. So the multiplier settles where the
    share is what it should be; a constraint on h would hold rows to less. The logarithm
    leaves rows far outside a slope that no longer grows.

    Parameters
    ----------
    features : callable
        Maps made rows, (n, ...), to features (n, d), with gradients.
    distance : MahalanobisDistance
    epsilon : float
        A distance, > 0.
    tolerance : float
        Share of the rows that may be beyond it, in (0, 1).
    form : {"quantile", "hinge", "mean"}, default="quantile"
    law : Tensor of shape (m,), default=None
        Distances that those of made rows should be distributed like: their
        `law_distance`, in units of epsilon, gets a multiplier of its own. None asks
        for nothing inside epsilon.
    fixed : bool, default=False
        Whether the multiplier stays, and rho is 0: a penalty of one weight.
    law_multiplier : float, default=0.0
        Of the law at first, >= 0; where it is fixed it is that of the share.
    **options : float
        Of `AugmentedLagrangian`.

    Attributes
    ----------
    multipliers : torch.nn.ModuleDict
        What a program lists among its modules: "share" and, with `law`, "law".

    References
    ----------
    .. [1] A. Cotter et al., "Optimization with non-differentiable constraints with
       applications to fairness, recall, churn, and other goals", JMLR 20, 2019,
       arXiv:1809.04198, section 4 (proxy-Lagrangian).

    Examples
    --------
    >>> distance = MahalanobisDistance(torch.zeros(1, 1), torch.eye(1))
    >>> held = DistanceConstraint(
    ...     nn.Identity(), distance, epsilon=2.0, tolerance=0.5, penalty=0.0, step=1.0
    ... )
    >>> loss, figures = held.loss(torch.tensor([[1.0], [2.5], [3.0]]))
    >>> round(float(figures["violation"]), 4)
    0.6667
    """

    figures = frozenset(
        {"violation", "multiplier", "constraint", "reach", "infeasibility"}
    )

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        distance: MahalanobisDistance,
        *,
        epsilon: float,
        tolerance: float,
        form: str = "quantile",
        law: Tensor | None = None,
        fixed: bool = False,
        law_multiplier: float = 0.0,
        **options: float,
    ) -> None:
        self.features, self.distance = features, distance
        self.epsilon, self.tolerance, self.form = epsilon, tolerance, form
        self.law = None if law is None else law / epsilon
        self.fixed = fixed
        if fixed:
            options = {**options, "penalty": 0.0, "step": 0.0}
        unit = None if form == "mean" else AIM * min(tolerance, 1.0 - tolerance)
        share = AugmentedLagrangian(**options, unit=unit)
        self.multipliers = nn.ModuleDict({"share": share})
        self._share.register_buffer("gap", torch.zeros(()))
        if law is not None:
            if not fixed:
                options = {**options, "multiplier": law_multiplier}
            unit = _LAW_SCALE * _LAW_SLACK
            self.multipliers["law"] = AugmentedLagrangian(**options, unit=unit)

    @property
    def multiplier(self) -> Tensor:
        """lambda, a scalar."""
        return self._share.multiplier

    @property
    def law_multiplier(self) -> float:
        """That of the law, 0 where none is asked for."""
        if self.law is None:
            return 0.0
        return float(cast(AugmentedLagrangian, self.multipliers["law"]).multiplier)

    @property
    def _share(self) -> AugmentedLagrangian:
        return cast(AugmentedLagrangian, self.multipliers["share"])

    def codes_of(self, labels: Sequence[Tensor]) -> Tensor | None:
        """Return the classes to measure to of rows made for one-hot labels, if any."""
        by_class = len(cast(Tensor, self.distance.places)) > 1
        return labels[0].argmax(1) if labels and by_class else None

    @property
    def _gap(self) -> Tensor:
        return cast(Tensor, self._share.gap)

    def squared(self, rows: Tensor, codes: Tensor | None = None) -> Tensor:
        """Return the squared distances of made rows, (n,), to their classes if any."""
        return cast(Tensor, self.distance(self.features(rows), codes))

    def loss(
        self, rows: Tensor, codes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what made rows descend, and figures; the multiplier moves by them.

        The figures are detached scalars: "violation", the share beyond epsilon;
        "multiplier"; and "constraint", what is weighed.
        """
        squared = self.squared(rows, codes)
        excess = self._excess(squared)
        rate = violation_rate(squared.detach(), self.epsilon)
        measured = rate - AIM * self.tolerance
        if self.form == "mean":  # itself, not what is descended, which is softened
            measured = mean_excess(squared.detach(), self.epsilon)
        self._share.update(measured + self._gap)
        loss = self._share.weight() * excess
        if self.law is not None and len(squared) > 1:
            loss = loss + self._law_loss(squared)
        multiplier = self.multiplier.clone()
        found = {"violation": rate, "multiplier": multiplier}
        return loss, {**found, "constraint": excess.detach()}

    def slope(
        self, rows: Tensor, codes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the slope of `loss` at made rows, and the figures."""
        with torch.enable_grad():
            rows = rows.detach().requires_grad_(True)
            loss, figures = self.loss(rows, codes)
            (slope,) = torch.autograd.grad(loss, rows)
        return slope, figures

    @torch.no_grad()
    def broken(self, rows: Tensor, codes: Tensor | None = None) -> dict[str, Tensor]:
        """Return figures of rows that are not descended by.

        They are "violation", the share beyond epsilon; "constraint", what is descended
        or, in the form "mean", the mean itself; "reach", the distance that all but the
        tolerated share are within, or the root of the mean square where that is
        constrained; and "infeasibility", by what share of epsilon the reach is beyond
        it, which tells apart what is far outside. A penalty of one weight asks for
        nothing that could be infeasible.
        """
        return self.broken_by(self.squared(rows, codes))

    def broken_by(self, squared: Tensor) -> dict[str, Tensor]:
        """Return the same for squared distances."""
        rate = violation_rate(squared, self.epsilon)
        mean = self.form == "mean"
        excess = mean_excess(squared, self.epsilon) if mean else self._excess(squared)
        found = {"violation": rate, "constraint": excess}
        if self.fixed:
            return found
        reach = self._reach(squared)
        too_far = F.relu(reach / self.epsilon - 1.0)
        return {**found, "reach": reach, "infeasibility": too_far}

    @torch.no_grad()
    def look_back(self, found: Mapping[str, Tensor]) -> None:
        """Let the multiplier aim at what held-out rows showed, see `broken_by`.

        Rows made of those that were trained on keep the constraint oftener. A third of
        the difference is added to what the multiplier looks at, each time.
        """
        measured = found["violation"] - AIM * self.tolerance
        if self.form == "mean":
            measured = found["constraint"]
        # the average has the gap of before in it
        self._gap.add_(measured - self._share.average, alpha=_GAP_SHARE)

    def _reach(self, squared: Tensor) -> Tensor:
        """Return the least epsilon that would be kept."""
        if self.form == "mean":
            return squared.mean().sqrt()
        n_beyond = int(self.tolerance * len(squared) * (1.0 + 1e-6))
        return squared.kthvalue(len(squared) - n_beyond).values.sqrt()

    def _excess(self, squared: Tensor) -> Tensor:
        over = (squared / self.epsilon**2 - 1.0).clamp_min(1.0)
        held = (2.0 + over.log()) * self.epsilon**2
        # equal, and of equal slope, where a row is at sqrt(2) epsilon
        softened = torch.minimum(squared, held)
        if self.form == "quantile":
            return tail_excess(softened, self.epsilon, self.tolerance)
        excess = mean_excess if self.form == "mean" else hinge_excess
        return excess(softened, self.epsilon)

    def _law_loss(self, squared: Tensor) -> Tensor:
        law, held = cast(Tensor, self.law), self.multipliers["law"]
        assert isinstance(held, AugmentedLagrangian)
        distances = (squared + 1e-12).sqrt() / self.epsilon
        apart = _LAW_SCALE * (law_distance(distances, law.to(distances)) - _LAW_SLACK)
        held.update(apart.detach())
        return held.weight() * apart
