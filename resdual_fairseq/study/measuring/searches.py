"""What fairseq-generate and fairseq-eval-lm do, with untrained models, timed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Dict, List

from fairseq import options, utils
from fairseq.sequence_scorer import SequenceScorer

from ...checkpoints.int8 import encoded_state
from .updates import Answer, Batch, built, clock, configuration, peak_memory, uses_cuda


class Searching:
    """A model that is prepared for inference, and the sentences of a split."""

    def __init__(self, request: Dict[str, Any], parser: ArgumentParser) -> None:
        _, self.task, self.model = built(request["train"])
        self.cfg = configuration(parser, request["search"])
        self.facts: Answer = {}
        if request["int8"]:
            self.model.load_state_dict(encoded_state(self.model.state_dict()))
        if self.cfg.common.fp16:
            self.model.half()
        if uses_cuda(self.cfg):
            self.model.cuda()
        self.model.prepare_for_inference_(self.cfg)
        self.model.eval()
        self.task.load_dataset(self.cfg.dataset.gen_subset)
        self.data = self.task.dataset(self.cfg.dataset.gen_subset)

    def indices(self, *limits: Any) -> Any:
        """The sentences that are not too long, short ones first."""
        longest = utils.resolve_max_positions(*limits)
        return self.data.filter_indices_by_size(self.data.ordered_indices(), longest)[0]

    def batches(self, indices: Any) -> List[Batch]:
        """These sentences in batches of the command line's size."""
        sizes = self.cfg.dataset
        batches = self.data.batch_by_size(
            indices,
            max_tokens=sizes.max_tokens,
            max_sentences=sizes.batch_size,
            required_batch_size_multiple=sizes.required_batch_size_multiple,
        )
        return [self.batch(one) for one in batches]

    def batch(self, indices: Any) -> Batch:
        batch = self.data.collater([self.data[index] for index in indices])
        return utils.move_to_cuda(batch) if uses_cuda(self.cfg) else batch


class Translating(Searching):
    """Beam search by fairseq's own generator, one sentence at a time and in batches.

    Where an untrained model ends a sentence means nothing. So each sentence gets as many tokens as
    its reference has, and a batch as many steps as its references have tokens in the mean: all arms
    do the same work, about that of trained models. Two things differ from these: the hypotheses of
    a batch end all at once, and ReLU leaves half of the activations at work, where searches of this
    package would skip the zeros of a trained model and take 0.85 to 0.9 of the time (in floats, at
    6+6 x 512, docs/performance.md).
    """

    def __init__(self, request: Dict[str, Any]) -> None:
        super().__init__(request, options.get_generation_parser())
        self.generator = self.task.build_generator([self.model], self.cfg.generation)
        indices = self.indices(self.task.max_positions(), self.model.max_positions())
        self.sentences = [self.batch([one]) for one in sorted(indices)[: request["sentences"]]]
        every = max(1, len(indices) // request["batch_sentences"])
        self.large = self.batches(indices[::every])
        self.rounds, self.batch_rounds = request["rounds"], request["batch_rounds"]
        for batch in (*self.sentences[:5], *self.large):
            self.seconds(batch)

    def turn(self, number: int) -> Answer:
        """Every so-manyth sentence alone and, in the first rounds, sentences in batches."""
        latencies = [self.seconds(one) for one in self.sentences[number :: self.rounds]]
        answer: Answer = {"latencies": latencies, "memory_gib": peak_memory()}
        if number < self.batch_rounds:
            answer["seconds"] = sum(self.seconds(batch) for batch in self.large)
            answer["sentences"] = sum(len(batch["id"]) for batch in self.large)
        return answer

    def seconds(self, batch: Batch) -> float:
        """Of a search that writes as many tokens as the references have in the mean."""
        words = round(batch["ntokens"] / len(batch["id"])) - 1  # the end of sentence comes besides
        length = min(words, self.generator.max_len - 1)
        self.generator.min_len = self.generator.max_len_b = length
        self.generator.max_len_a = 0
        began = clock()
        self.task.inference_step(self.generator, [self.model], batch)
        return clock() - began


class Scoring(Searching):
    """A language model's log-probabilities of the split, in batches."""

    def __init__(self, request: Dict[str, Any]) -> None:
        super().__init__(request, options.get_eval_lm_parser())
        self.scorer = SequenceScorer(self.task.target_dictionary, self.cfg.eval_lm.softmax_batch)
        self.large = self.batches(self.indices(self.model.max_positions()))
        self.turn(0)

    def turn(self, number: int) -> Answer:
        batch = self.large[number % len(self.large)]
        began = clock()
        self.scorer.generate([self.model], batch)
        seconds = clock() - began
        return {"seconds": seconds, "tokens": batch["ntokens"], "memory_gib": peak_memory()}
