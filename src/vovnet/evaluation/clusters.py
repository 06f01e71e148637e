"""The resamples on which everything about an evaluation set is told.

It is a module of its own because live runs read questions too, and an edit of a statistic must not
run them again.
"""

from zlib import crc32

from vovnet.config.schema import EvalSettings
from vovnet.core.arrays import Ints
from vovnet.core.resampling import Resamples, cluster_codes
from vovnet.evaluation.questions import Questions


def clusters_of(questions: Questions) -> Ints:
    """The cluster of each question, (U,)."""
    images = [[image.sha256 for image in sample.images] for sample in questions.samples]
    return cluster_codes(questions.units, images)


def draw_resamples(questions: Questions, evaluation: EvalSettings) -> Resamples:
    """Resamples of clusters: questions that share an image, directly or by others, are one.

    Each split is drawn by itself: sets of other questions vary independently, and means over sets
    with them. Sets of the same split, such as one with circular passes, draw the same.
    """
    clusters_U = clusters_of(questions)
    first = questions.samples[0]
    split = crc32(f"{first.dataset}/{first.split}".encode())
    return Resamples.draw(clusters_U, evaluation.bootstrap_samples, (evaluation.seed, split))
