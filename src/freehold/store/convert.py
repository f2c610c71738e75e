"""BERT sentence encoders, from safetensors to GGUF. Imports numpy and gguf: for child processes and the command line only.

Formats: https://github.com/huggingface/safetensors (eight bytes of length, a JSON header, the data) and llama.cpp's arch
"bert", https://github.com/ggml-org/llama.cpp (gguf-py/gguf/constants.py). The same input gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from freehold.errors import BadModelFile

_MAX_HEADER = 1 << 24  # bytes
_TYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I64": np.dtype("<i8")}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LEFT_OUT = ("pooler.", "embeddings.position_ids")  # mean pooling takes neither


def convert_bert(files: Mapping[str, Path], target: Path, name: str) -> None:
    """Writes a BERT encoder with mean pooling as an f16 GGUF file.

    `files` has "model.safetensors", "vocab.txt" and "config.json". Raises BadModelFile for what is not such a model.
    """
    try:
        config = json.loads(files["config.json"].read_text(encoding="utf-8"))
        tokens = files["vocab.txt"].read_text(encoding="utf-8").split("\n")
        tensors = list(read_safetensors(files["model.safetensors"]))
        writer = gguf.GGUFWriter(target, "bert")
        _describe(writer, config, name)
        _add_vocabulary(writer, tokens[: config["vocab_size"]])
        _add_tensors(writer, tensors, config["num_hidden_layers"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadModelFile(f"This is not a BERT model that can be converted: {str(error)[:200]!a}.") from error
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@dataclass(frozen=True)
class Tensor:
    """`data` has the tensor's shape, slowest dimension first, and maps the file."""

    name: str
    data: npt.NDArray[Any]


def read_safetensors(path: Path) -> Iterator[Tensor]:
    """The tensors of a safetensors file in the order of their names. Raises ValueError when a place is not within the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise TypeError("the header is not an object")
    header.pop("__metadata__", None)
    start = 8 + length
    whole = np.memmap(path, dtype=np.uint8, mode="r")
    for name, place in sorted(header.items()):
        yield Tensor(name, _tensor(whole, start, name, place))


def _tensor(whole: npt.NDArray[Any], start: int, name: str, place: Any) -> npt.NDArray[Any]:
    kind, shape, (first, last) = _TYPES.get(place["dtype"]), place["shape"], place["data_offsets"]
    if kind is None:
        raise ValueError(f"{name} is of the type {place['dtype']}")
    if not all(type(number) is int and number >= 0 for number in (*shape, first, last)):
        raise ValueError(f"{name} has a place that is none")
    if start + last > len(whole) or last - first != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{name} is not within the file")
    data: npt.NDArray[Any] = whole[start + first : start + last].view(kind).reshape(shape)
    return data


def _describe(writer: gguf.GGUFWriter, config: Mapping[str, Any], name: str) -> None:
    if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
        raise ValueError("its config.json describes another kind of model")
    writer.add_name(name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_vocabulary(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    """WordPiece as llama.cpp wants it: beginnings of words are marked, continuations are not."""
    number = {token: index for index, token in enumerate(tokens)}
    writer.add_tokenizer_model("bert")
    writer.add_token_list([_marked(token) for token in tokens])
    writer.add_token_types([_type(token) for token in tokens])
    writer.add_token_type_count(2)
    writer.add_bos_token_id(number["[CLS]"])
    writer.add_uint32("tokenizer.ggml.cls_token_id", number["[CLS]"])
    writer.add_sep_token_id(number["[SEP]"])
    writer.add_eos_token_id(number["[SEP]"])
    writer.add_pad_token_id(number["[PAD]"])
    writer.add_unk_token_id(number["[UNK]"])
    writer.add_mask_token_id(number["[MASK]"])


def _marked(token: str) -> str:
    if token.startswith("##"):
        return token[2:]
    return token if token.startswith("[") and token.endswith("]") else "\u2581" + token


def _type(token: str) -> gguf.TokenType:
    if token in _SPECIAL:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.UNUSED if token.startswith("[unused") else gguf.TokenType.NORMAL


def _add_tensors(writer: gguf.GGUFWriter, tensors: list[Tensor], blocks: int) -> None:
    """Matrices as f16; vectors, and the small embeddings that are added to every token, stay f32."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, blocks)
    for tensor in tensors:
        if tensor.name.startswith(_LEFT_OUT):
            continue
        name = names.get_name(tensor.name, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ValueError(f"there is no place for {tensor.name}")
        exact = tensor.data.ndim < 2 or any(part in name for part in ("token_types", "position_embd", "norm"))
        writer.add_tensor(name, np.ascontiguousarray(tensor.data, dtype=np.float32 if exact else np.float16))
