"""Answers from a declared set: how probable the model holds each, summed over every way to write it in tokens.

An answer is a choice if its text begins with it. The same text can be cut into tokens in many ways, of which the model
generates one; they exclude each other, so that their probabilities add up. Where a reply follows a chat template it
begins with the choice itself; where it continues raw text, also with one space or one newline before it (`RAW_LEADS`).
Other white space and other letter cases make other answers.

Every inner node of the tree of tokens wants the normaliser of the model's whole vocabulary, and so does the whole
probability of the set: there is no way to have these from the rows of the output matrix that can occur alone, not
even where all choices are single tokens.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvtape.errors import InvalidRequest
from kvtape.types import SamplingParams, TokenEvent, WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine, AsyncGeneration, AsyncSequence
    from kvtape.model.tokenizer import Tokenizer

__all__ = ["RAW_LEADS", "TEMPLATE_LEADS", "ChoiceTree", "Odds", "Weighing", "check_choices", "weigh"]

MIN_CHOICES, MAX_CHOICES = 2, 32
MAX_CHOICE_BYTES = 64
MAX_CHOICE_NODES = 512  # inner nodes that a choice may have, which is to say rows of a step that it costs
MAX_NODES = 2048  # of all choices of a query
MAX_ROWS = 64  # nodes that run in one step: more are no cheaper each, and keep others waiting

TEMPLATE_LEADS = ("",)  # what may stand before a choice
RAW_LEADS = ("", " ", "\n")

_TOKENS_OF: weakref.WeakKeyDictionary[Tokenizer, Mapping[bytes, Sequence[int]]] = weakref.WeakKeyDictionary()


def check_choices(choices: Sequence[str], *, param: str = "choices") -> None:
    """Check a declared set of answers.

    Raises:
        InvalidRequest: there are too few or too many, or one is empty, too long, has white space around it, or begins
            another; `param` names it.
    """
    if not MIN_CHOICES <= len(choices) <= MAX_CHOICES:
        raise InvalidRequest(f"{param} has {len(choices)} entries, wanted {MIN_CHOICES} to {MAX_CHOICES}", param=param)
    for index, choice in enumerate(choices):
        path = f"{param}[{index}]"
        if not choice or choice != choice.strip():
            raise InvalidRequest(f"{path} must not be empty nor have white space around it: {choice!r:.80}", param=path)
        try:
            n_bytes = len(choice.encode())
        except UnicodeEncodeError:
            raise InvalidRequest(f"{path} has lone surrogates, which UTF-8 cannot hold", param=path) from None
        if n_bytes > MAX_CHOICE_BYTES:
            raise InvalidRequest(f"{path} has {n_bytes} bytes, at most {MAX_CHOICE_BYTES} are allowed", param=path)
        for other in choices[:index]:
            if choice.startswith(other) or other.startswith(choice):
                raise InvalidRequest(f"{path} is {choice!r}, and one of it and {other!r} begins the other", param=path)


@dataclass(slots=True)
class Node:
    """A place in the tree: tokens that may come next, or the index of the choice that ends here."""

    children: dict[int, Node] = field(default_factory=dict)
    choice: int | None = None

    def params(self) -> SamplingParams:
        """Return how to ask for the log-probabilities of the children."""
        return SamplingParams(max_tokens=1, logprobs=True, logprob_ids=tuple(self.children), speculate=False)


class ChoiceTree:
    """The token paths of a declared set of answers. Building it takes milliseconds: not for an event loop.

    Attributes:
        choices: the answers.
        n_tokens: of each answer, as the tokenizer writes it.
        n_nodes: inner nodes but for the root.
        depth: tokens of the longest path.

    Raises:
        InvalidRequest: as `check_choices`; or a choice has more paths than may be weighed, or none.
    """

    def __init__(
        self, tokenizer: Tokenizer, choices: Sequence[str], leads: Sequence[str], *, param: str = "choices"
    ) -> None:
        check_choices(choices, param=param)
        self.choices = tuple(choices)
        self.n_tokens = [len(tokenizer.encode(choice)) for choice in choices]
        self.root = Node()
        self.n_nodes = self.depth = 0
        tokens = _tokens_of(tokenizer)
        for index, choice in enumerate(choices):
            path = f"{param}[{index}]"
            spellings = [_Spelling(tokens, (lead + choice).encode()) for lead in leads]
            n_nodes = sum(spelling.n_nodes for spelling in spellings)
            if n_nodes > MAX_CHOICE_NODES:
                raise InvalidRequest(
                    f"{path}: {choice!r} can be cut into tokens in too many ways, of {n_nodes} inner nodes; "
                    f"at most {MAX_CHOICE_NODES} are weighed, so give it a shorter name",
                    param=path,
                )
            if not any(spelling.n_paths for spelling in spellings):
                raise InvalidRequest(f"{path}: this model has no tokens for {choice!r}", param=path)
            for spelling in spellings:
                self._grow(self.root, spelling, 0, index, 1)
        if self.n_nodes > MAX_NODES:
            raise InvalidRequest(
                f"{param} make a tree of {self.n_nodes} inner nodes, at most {MAX_NODES} are weighed", param=param
            )

    def _grow(self, node: Node, spelling: _Spelling, begin: int, choice: int, depth: int) -> None:
        self.depth = max(self.depth, depth)
        for token_id, end in spelling.steps[begin]:
            child = node.children.get(token_id)
            if child is None:
                child = node.children[token_id] = Node()
                self.n_nodes += end < spelling.n_bytes
            if end == spelling.n_bytes:
                child.choice = choice
            else:
                self._grow(child, spelling, end, choice, depth + 1)


class _Spelling:
    """A text, and the tokens that lead on from each byte of it to where it can be finished."""

    def __init__(self, tokens: Mapping[bytes, Sequence[int]], text: bytes) -> None:
        self.n_bytes = n_bytes = len(text)
        self.steps: list[list[tuple[int, int]]] = [[] for _ in text]  # of each begin: token id and end
        n_to_end = [0] * n_bytes + [1]
        for begin in reversed(range(n_bytes)):
            for end in range(begin + 1, n_bytes + 1):
                if n_to_end[end]:
                    self.steps[begin] += [(token_id, end) for token_id in tokens.get(text[begin:end], ())]
            n_to_end[begin] = sum(n_to_end[end] for _, end in self.steps[begin])
        n_from_begin = [1] + [0] * n_bytes
        for begin in range(n_bytes):
            for _, end in self.steps[begin]:
                n_from_begin[end] += n_from_begin[begin]
        self.n_paths = n_to_end[0]
        self.n_nodes = sum(n_from_begin[1:n_bytes])  # a node is a way to write what stands before it


def _tokens_of(tokenizer: Tokenizer) -> Mapping[bytes, Sequence[int]]:
    """Return the ids of the tokens that add certain bytes to a text; made once a model, in about 0.1 s."""
    if tokenizer not in _TOKENS_OF:
        ids: dict[bytes, list[int]] = defaultdict(list)
        for token_id, piece in enumerate(tokenizer.token_bytes()):
            if piece:  # control tokens add nothing
                ids[piece].append(token_id)
        _TOKENS_OF[tokenizer] = dict(ids)
    return _TOKENS_OF[tokenizer]


@dataclass(frozen=True, slots=True)
class Odds:
    """What became of weighing a set: `probabilities` within it, which sum to 1, and that of the whole set."""

    probabilities: dict[str, float]
    coverage: float

    @property
    def best(self) -> str:
        """The most probable choice, the earlier one among equals."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(slots=True, eq=False)
class Weighing:
    """A tree being weighed behind one question."""

    tree: ChoiceTree
    masses: list[float] = field(init=False)  # of each choice, the paths that have been followed to their end
    n_open: int = 1  # nodes whose children are not known yet; the root is one

    def __post_init__(self) -> None:
        self.masses = [0.0] * len(self.tree.choices)

    def odds(self) -> Odds:
        """Return what has been found. Where every path is less probable than a float can say, all choices are equal."""
        coverage = math.fsum(self.masses)
        shares = [mass / coverage if coverage else 1 / len(self.masses) for mass in self.masses]
        return Odds(dict(zip(self.tree.choices, shares, strict=True)), coverage)


@dataclass(slots=True)
class _Branch:
    """A node of which `sequence` holds the KV, in its first `n_tokens`; `edges` lead on to inner nodes."""

    weighing: Weighing
    sequence: AsyncSequence
    n_tokens: int
    edges: list[tuple[int, Node, float]]  # token, what it leads to, log-probability of the path up to there


@dataclass(slots=True)
class _Running:
    """A node that waits for its event."""

    weighing: Weighing
    sequence: AsyncSequence
    n_tokens: int
    node: Node
    logprob: float  # of the path up to here

    def branch(self, event: TokenEvent) -> _Branch:
        """Add up the paths that end behind this node; return those that go on."""
        weighing, edges = self.weighing, []
        for scored in event.top_logprobs:
            child, logprob = self.node.children[scored.token_id], self.logprob + scored.logprob
            if child.choice is None:
                edges.append((scored.token_id, child, logprob))
            else:
                weighing.masses[child.choice] += math.exp(logprob)
        weighing.n_open += len(edges) - 1
        return _Branch(weighing, self.sequence, self.n_tokens, edges)


async def weigh(
    roots: Sequence[tuple[Weighing, AsyncSequence, TokenEvent]],
    engine: AsyncEngine,
    *,
    work: WorkClass,
    on_done: Callable[[Weighing], None],
) -> None:
    """Follow the trees of several questions together, in steps of as many nodes as there are, up to `MAX_ROWS`.

    A root is a sequence with one token behind its question, and the event of that token, drawn with `root.params()`.
    The deepest nodes go first, so that few wait: where the trees are narrow that is a step a level. Roots are the
    caller's to close.

    Raises:
        EngineFailed: the engine gave up.
    """
    waiting: list[_Branch] = []
    running: list[tuple[_Running, AsyncGeneration]] = []

    def follow(run: _Running, event: TokenEvent) -> None:
        branch = run.branch(event)
        if branch.edges:
            waiting.append(branch)
        else:
            run.sequence.truncate(0)  # not to be found by its prefix: nobody will go on here
            run.sequence.close()
        if not run.weighing.n_open:
            on_done(run.weighing)

    try:
        for weighing, sequence, event in roots:
            follow(_Running(weighing, sequence, sequence.n_tokens - 1, weighing.tree.root, 0.0), event)
        while waiting:
            with engine.together():
                while waiting and len(running) < MAX_ROWS:
                    run = _take(waiting, work)
                    running.append((run, run.sequence.generate(run.node.params(), work=work)))
            for run, generation in running:
                follow(run, await anext(generation))
            running.clear()
    finally:
        for run, _ in running:
            run.sequence.close()
        for branch in waiting:
            branch.sequence.close()


def _take(waiting: list[_Branch], work: WorkClass) -> _Running:
    """Start along an edge of the last branch, on a fork of its sequence; its last edge takes the sequence itself."""
    branch = waiting[-1]
    token_id, node, logprob = branch.edges.pop()
    sequence = branch.sequence.fork() if branch.edges else waiting.pop().sequence
    sequence.truncate(branch.n_tokens)  # without the token that was drawn
    sequence.append([token_id], work=work)
    return _Running(branch.weighing, sequence, branch.n_tokens + 1, node, logprob)
