"""The floating-point operations of jobs, counted before they run.

Training needs a forward pass of everything and a backward pass through activations, which takes
once as much again; where the whole model is trained, gradients of weights take once as much
more. With adapters the vision tower is frozen and has a forward pass only. Nothing is counted
twice where memory is saved by computing it again.
"""

from collections.abc import Callable, Iterable, Sequence

from vovnet.commands.plan.sizes import Part, Probe
from vovnet.config import Settings
from vovnet.config.experiments import stage1_shares
from vovnet.core.cost import allowed_actions
from vovnet.model.architectures import IMAGE_MARKS, answer_flops, image_grids, model_flops
from vovnet.views import num_vision_tokens, parse_view

TERA = 1e12


class Work:
    """Counts for the settings of one run, in TFLOP."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = model_flops(settings.model)
        whole = settings.model.lora is None
        self.backward = 2 if whole else 1
        self.tower_backward = 2 if whole else 0

    # ---- observing ---------------------------------------------------------------------

    def observing(self, parts: Iterable[Part], views: Sequence[str], text_pass: bool) -> float:
        """Of each sample the text pass, if it belongs to it, and an answer under each view.

        Views of one budget share what the tower makes of an image.
        """
        return total(parts, lambda probe: self._observed(probe, views, text_pass))

    def _observed(self, probe: Probe, views: Sequence[str], text_pass: bool) -> float:
        language, budget = self.model.language_model, self.settings.vision_budget
        steps = min(self.settings.plan.answer_tokens, self.settings.eval.max_new_tokens)
        flops = language.prefill(probe.prompt_tokens) if text_pass else 0
        towers = {}
        for view in views:
            sizes = (probe.images, view, budget, probe.prompt_tokens, steps)
            answer = answer_flops(self.model, *sizes)
            towers[parse_view(view).budget] = answer.vision_tower
            reuses = self.settings.eval.cache_reuse
            flops += answer.language_model if reuses else answer.language_model_alone
        return flops + sum(towers.values())

    # ---- training ----------------------------------------------------------------------

    def stage1(self, parts: Iterable[Part]) -> float:
        """Of each sample one view with its gradient."""
        shares = stage1_shares(self.settings).items()
        views = {view: (share, share) for view, share in shares}
        epochs = self.settings.training.stage1_epochs
        return epochs * total(parts, lambda probe: self._trained(probe, views))

    def stage2(self, parts: Iterable[Part]) -> float:
        """Of each sample every action; with a gradient NO, and the sampled one.

        Each action that the policy may choose is assumed to be sampled equally often. A soft
        mixture has a gradient everywhere.
        """
        policy, actions = self.settings.policy, self.settings.actions
        allowed = allowed_actions(actions, policy.action_space)
        views = dict.fromkeys(actions, (1.0, 1.0))
        if policy.use_straight_through:
            for index, view in enumerate(actions[1:], start=1):
                views[view] = (1.0, 1 / len(allowed) if index in allowed else 0.0)
        epochs = self.settings.training.stage2_epochs
        return epochs * total(parts, lambda probe: self._trained(probe, views))

    def _trained(self, probe: Probe, views: dict[str, tuple[float, float]]) -> float:
        """`views` are those shown: how often forward, and how often backward as well."""
        language, budget = self.model.language_model, self.settings.vision_budget
        answer = min(probe.answer_tokens, self.settings.training.max_answer_tokens)
        logits = 2 * language.hidden_size * language.vocab_size * (answer - 1)
        flops = 0.0
        for view, (forward, backward) in views.items():
            length = probe.prompt_tokens + answer
            tower = 0
            if grids := image_grids(probe.images, view, budget):
                shown = num_vision_tokens(probe.images, view, budget)
                length += shown + IMAGE_MARKS * len(probe.images)
                tower = self.model.vision_tower.encode(grids)
            flops += (language.prefill(length) + logits) * (forward + backward * self.backward)
            flops += tower * (forward + backward * self.tower_backward)
        return flops


def total(parts: Iterable[Part], count: Callable[[Probe], float]) -> float:
    """TFLOP of all samples: each part's number times the mean over its probes."""
    means = [(part.samples, sum(map(count, part.probes)) / len(part.probes)) for part in parts]
    return sum(samples * mean for samples, mean in means) / TERA
