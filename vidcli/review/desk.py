"""What the page asks and tells, without HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vidcli.arrays import Float64
from vidcli.errors import VidcliError
from vidcli.review.clips import ClipList, Verdict
from vidcli.review.journal import Journal, class_names
from vidcli.review.knowledge import Kernels, Opinion, learn
from vidcli.review.playable import MediaShelf
from vidcli.review.queue import Place, rank_disputed, rank_suspicious, rank_unlabelled
from vidcli.review.retrain import Training
from vidcli.train.choice import mean_kernel

_MOST_PLACES = 200
_MOST_GUESSES = 12


class Closed(Exception):
    """The page was closed while clips were described."""


@dataclass(frozen=True)
class Ranking:
    """The queues, and what they rest on.

    Attributes:
        number: counts rankings, so that a page knows whether it has seen this one.
        unlabelled: clips to label.
        suspicious: labels to check.
        copies: clips that may be copies with other labels.
        opinion: of the classifier.
    """

    number: int = 0
    unlabelled: Sequence[Place] = ()
    suspicious: Sequence[Place] = ()
    copies: Sequence[Place] = ()
    opinion: Opinion | None = None


@dataclass
class Progress:
    """How far the clips are described.

    Attributes:
        done: clips that are.
        total: all clips.
        fault: why it ended before the end; None where it did not.
    """

    done: int = 0
    total: int = 0
    fault: str | None = None


@dataclass
class Predictions:
    """What a trained model says of every clip; `--model` names it.

    Attributes:
        class_names: the classes that it knows.
        probabilities: (K,) by position of a clip; filled while the page is open.
    """

    class_names: Sequence[str] = ()
    probabilities: dict[int, Float64] = field(default_factory=dict)


class Desk:
    """Everything that one page works with; its threads end with `close`."""

    def __init__(
        self, clips: ClipList, journal: Journal, shelf: MediaShelf, training: Callable[[Desk], Training]
    ) -> None:
        """Gather what the page works with.

        Args:
            clips: of the data set.
            journal: of what is said of them.
            shelf: makes them playable.
            training: makes the training of this desk.
        """
        self.clips, self.journal, self.shelf = clips, journal, shelf
        self.training = training(self)
        self.progress = Progress(total=len(clips.items))
        self.ranking = Ranking(unlabelled=self._in_order())
        self.predictions = Predictions()
        self._kernels: Kernels | None = None
        self._pairs: Sequence[tuple[int, int]] = ()
        self._wake, self._is_closed = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(
        self,
        describe: Callable[[Callable[[int, int], None]], Kernels],
        predict: Callable[[Predictions], None] | None = None,
        find_pairs: Callable[[Callable[[int, int], None]], Sequence[tuple[int, int]]] | None = None,
    ) -> None:
        """Describe and rank clips beside the page.

        Args:
            describe: returns the kernels of the clips, given where to tell how far it is.
            predict: fills the predictions of a trained model; None without one.
            find_pairs: returns clips that may be copies of each other, given where to tell how far it is.
        """

        def work() -> None:
            try:
                if predict is not None:
                    predict(self.predictions)
                self._kernels = describe(self._tell_progress)
                self.rank()
                if find_pairs is not None:
                    self._pairs = find_pairs(lambda done, total: self.check_open())
                    self.rank()
            except Closed:
                return
            except (VidcliError, MemoryError) as error:
                self.progress.fault = str(error) or type(error).__name__
            while not self._is_closed.is_set():
                self._wake.wait()
                self._wake.clear()
                if not self._is_closed.is_set() and self._kernels is not None:
                    self.rank()

        thread = threading.Thread(target=work, name="vidcli-ranking")
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        """End the threads, the training and the journal."""
        self._is_closed.set()
        self._wake.set()
        self.training.stop()
        self.shelf.close()
        for thread in self._threads:
            thread.join()
        self.journal.close()

    def check_open(self) -> None:
        """End the work of a thread when the desk closes.

        Raises:
            Closed: it does.
        """
        if self._is_closed.is_set():
            raise Closed

    def wake(self) -> None:
        """Rank again soon, since a label changed."""
        self._wake.set()

    def rank(self) -> None:
        """Rank all clips by what is said of them now."""
        assert self._kernels is not None
        verdicts = self.journal.verdicts()
        labels = [None if v.is_flagged or v.segments else v.label for v in verdicts]
        opinion = learn(self._kernels, self.clips.items, labels) or self._opinion_of_model()
        is_open = np.array([v == Verdict() for v in verdicts])
        is_checked = np.array([v.by_person or v.is_flagged for v in verdicts])
        self.ranking = Ranking(
            self.ranking.number + 1,
            rank_unlabelled(self._kernels, opinion, labels, is_open, _MOST_PLACES),
            rank_suspicious(opinion, labels, ~is_checked, _MOST_PLACES),
            rank_disputed(self._pairs, self.clips.names, labels, ~is_checked, _MOST_PLACES),
            opinion,
        )

    def _opinion_of_model(self) -> Opinion | None:
        """Return what the model of `--model` says, in the place of a classifier that knows too little."""
        known = self.predictions.probabilities
        if not known or self._kernels is None:
            return None
        even = np.full(len(self.predictions.class_names), 1 / len(self.predictions.class_names))
        shares_NK = np.stack([known.get(n, even) for n in range(len(self.clips.items))])
        kernel_NN = mean_kernel(self._kernels.of_part, self._kernels.all_parts)
        return Opinion(self.predictions.class_names, shares_NK, kernel_NN, False, None)

    def clip(self, position: int) -> dict[str, Any]:
        """Return what the page shows of a clip in lists."""
        version, verdict = self.journal.states()[position]
        return {"id": position, "version": version, **verdict.to_dict()}

    def clip_list(self) -> dict[str, Any]:
        """Return all clips, as the page begins with them."""
        items, revision, states = self.clips.items, self.journal.revision, self.journal.states()
        rows = [
            {
                "id": position,
                "name": name,
                "start": items[position].start_seconds,
                "end": items[position].end_seconds,
                "group": items[position].group,
                "version": states[position][0],
                **states[position][1].to_dict(),
            }
            for position, name in enumerate(self.clips.names)
        ]
        return {"clips": rows, "revision": revision, "manifest": str(self.journal.manifest)}

    def news(self, revision: int, ranking: int) -> dict[str, Any]:
        """Return what changed.

        Args:
            revision: of the journal, that the page knows.
            ranking: number of the ranking that the page knows.
        """
        # Before the clips: what comes between is told again.
        now, latest = self.ranking, self.journal.revision
        told: dict[str, Any] = {
            "revision": latest,
            "clips": [self.clip(position) for position in self.journal.changed_since(revision)],
            "classes": sorted({*class_names(self.journal.verdicts()), *self.predictions.class_names}),
            "progress": {
                "done": self.progress.done,
                "total": self.progress.total,
                "fault": self.progress.fault,
            },
            "training": self.training.to_dict(),
            "top1": None if now.opinion is None else now.opinion.top1,
        }
        if now.number != ranking or ranking == 0:
            told["ranking"] = now.number
            told["queues"] = {
                name: [[place.position, place.reason] for place in places]
                for name, places in (
                    ("unlabelled", now.unlabelled),
                    ("suspicious", now.suspicious),
                    ("copies", now.copies),
                )
            }
        return told

    def guesses(self, position: int) -> list[tuple[str, float]]:
        """Return the most probable classes of a clip, the best first; none where nothing is known."""
        opinion, known = self.ranking.opinion, self.predictions
        if opinion is not None:
            names, shares_K = opinion.class_names, opinion.probabilities_NK[position]
        elif position in known.probabilities:
            names, shares_K = known.class_names, known.probabilities[position]
        else:
            return []
        order = np.argsort(-shares_K)[:_MOST_GUESSES]
        return [(names[k], float(shares_K[k])) for k in order]

    def _in_order(self) -> list[Place]:
        """Return the unlabelled clips as they come, before anything is known of them."""
        verdicts = self.journal.verdicts()
        open_ = [position for position, verdict in enumerate(verdicts) if verdict == Verdict()]
        return [Place(position, "in order, until clips are described") for position in open_[:_MOST_PLACES]]

    def _tell_progress(self, done: int, total: int) -> None:
        self.progress.done, self.progress.total = done, total
        self.check_open()
