"""Pieces of words: a SentencePiece unigram vocabulary (Kudo & Richardson 2018), learnt before the clock runs.

Reference: no begin or end pieces, every character covered, id 0 unknown. A run needs only the pieces.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from laptime.errors import DataProblem

SPACE = "▁"  # how SentencePiece writes the blank before a word
UNKNOWN = " ⁇ "  # how it decodes id 0


@dataclass(frozen=True)
class Tokenizer:
    """A trained model as bytes, and its pieces by id."""

    model: bytes
    pieces: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_processor", _processor(self.model))

    def encode(self, text: str) -> list[int]:
        """Ids of the likeliest pieces."""
        ids: list[int] = self._processor.encode(text)  # type: ignore[attr-defined]
        return ids


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A vocabulary of exactly `size` pieces. Raises DataProblem where the texts have too few for that."""
    import sentencepiece

    sentencepiece.set_min_log_level(2)
    made = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=made, vocab_size=size, model_type="unigram",
            character_coverage=1.0, bos_id=-1, eos_id=-1, unk_id=0, num_threads=1, minloglevel=2)
    except RuntimeError as error:
        raise DataProblem(f"expected training transcripts that give {size} pieces, found others: "
                          f"{str(error).strip().splitlines()[-1][-200:]}", hint="Change model.vocabulary.") from None
    processor = _processor(made.getvalue())
    return Tokenizer(made.getvalue(), tuple(processor.id_to_piece(list(range(size)))))


def decode(pieces: Sequence[str], ids: Iterable[int]) -> str:
    """Text of pieces, as SentencePiece decodes them; id 0 is the unknown piece."""
    return "".join(pieces[i] if i else UNKNOWN for i in ids).replace(SPACE, " ").strip()


def _processor(model: bytes):  # type: ignore[no-untyped-def]
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)
