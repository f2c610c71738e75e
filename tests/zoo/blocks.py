"""The tensors of transformer and state-space blocks: what llama.cpp's src/models/*.cpp asks for, by name and size.

A block's names stand without their number; `model` puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.zoo.build import Sizes

Tensors = dict[str, Sizes]


@dataclass(frozen=True)
class Dims:
    """Sizes that all tiny models share; `head` is the length of a head."""

    vocab: int
    embd: int = 64
    heads: int = 4
    kv: int = 2
    head: int = 16
    ff: int = 128
    context: int = 512

    @property
    def q(self) -> int:
        return self.heads * self.head

    @property
    def k(self) -> int:
        return self.kv * self.head


def norm(name: str, length: int, bias: bool = False) -> Tensors:
    return {f"{name}.weight": (length,)} | ({f"{name}.bias": (length,)} if bias else {})


def linear(name: str, inputs: int, outputs: int, bias: bool = False) -> Tensors:
    return {f"{name}.weight": (inputs, outputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def attention(d: Dims, *, bias: bool = False, out_bias: bool | None = None, fused: bool = False) -> Tensors:
    """Query, key, value and output, the first three as one matrix where they are fused."""
    out = linear("attn_output", d.q, d.embd, bias if out_bias is None else out_bias)
    if fused:
        return linear("attn_qkv", d.embd, d.q + 2 * d.k, bias) | out
    return linear("attn_q", d.embd, d.q, bias) | linear("attn_k", d.embd, d.k, bias) | linear("attn_v", d.embd, d.k, bias) | out


def head_norms(d: Dims) -> Tensors:
    return norm("attn_q_norm", d.head) | norm("attn_k_norm", d.head)


def feed_forward(d: Dims, *, gate: bool = True, bias: bool = False, wide: int = 1) -> Tensors:
    """`wide` 2 has gate and up in one matrix."""
    made = linear("ffn_up", d.embd, wide * d.ff, bias) | linear("ffn_down", d.ff, d.embd, bias)
    return made | (linear("ffn_gate", d.embd, d.ff, bias) if gate else {})


def experts(d: Dims, count: int, width: int, *, shared: int = 0, bias: bool = False) -> Tensors:
    """A router and `count` experts of `width`; `shared` is the width of the expert that every token passes."""
    made: Tensors = linear("ffn_gate_inp", d.embd, count, bias)
    for name, inputs, outputs in (("gate", d.embd, width), ("up", d.embd, width), ("down", width, d.embd)):
        made[f"ffn_{name}_exps.weight"] = (inputs, outputs, count)
        if bias:
            made[f"ffn_{name}_exps.bias"] = (outputs, count)
    if shared:
        made |= linear("ffn_gate_shexp", d.embd, shared) | linear("ffn_up_shexp", d.embd, shared)
        made |= linear("ffn_down_shexp", shared, d.embd)
    return made


def mamba(d: Dims, *, state: int, rank: int, conv: int = 4, norms: bool = False) -> Tensors:
    """A selective state-space block, with an inner width of twice the embedding; `norms` as Jamba has them."""
    inner = 2 * d.embd
    made = linear("ssm_in", d.embd, 2 * inner) | {"ssm_conv1d.weight": (conv, inner), "ssm_conv1d.bias": (inner,)}
    made |= linear("ssm_x", inner, rank + 2 * state) | linear("ssm_dt", rank, inner, bias=True)
    made |= {"ssm_a": (state, inner), "ssm_d": (inner,)} | linear("ssm_out", inner, d.embd)
    if norms:
        made |= norm("ssm_dt_norm", rank) | norm("ssm_b_norm", state) | norm("ssm_c_norm", state)
    return made


def mamba2(d: Dims, *, state: int, heads: int, groups: int, conv: int = 4) -> Tensors:
    inner = 2 * d.embd
    mixed = inner + 2 * groups * state
    return {
        **linear("ssm_in", d.embd, inner + mixed + heads),
        "ssm_conv1d.weight": (conv, mixed),
        "ssm_conv1d.bias": (mixed,),
        "ssm_dt.bias": (heads,),
        "ssm_a": (1, heads),
        "ssm_d": (1, heads),
        "ssm_norm.weight": (inner // groups, groups),
        **linear("ssm_out", inner, d.embd),
    }


def latent_attention(d: Dims, *, q_rank: int, kv_rank: int, rope: int, nope: int, value: int) -> Tensors:
    """Multi-head latent attention (DeepSeek), with the split matrices that let the cache hold the latent alone."""
    return {
        **norm("attn_q_a_norm", q_rank),
        **norm("attn_kv_a_norm", kv_rank),
        **linear("attn_q_a", d.embd, q_rank),
        **linear("attn_q_b", q_rank, d.heads * (nope + rope)),
        **linear("attn_kv_a_mqa", d.embd, kv_rank + rope),
        "attn_k_b.weight": (nope, kv_rank, d.heads),
        "attn_v_b.weight": (kv_rank, value, d.heads),
        **linear("attn_output", d.heads * value, d.embd),
    }


def model(
    d: Dims,
    blocks: Iterable[Mapping[str, Sizes]],
    *,
    tied: bool = False,
    bias: bool = False,
    head_bias: bool = False,
    extra: Mapping[str, Sizes] | None = None,
) -> Tensors:
    """A decoder: embeddings, numbered blocks, the last norm, and the head unless it is `tied` to the embeddings."""
    made = {"token_embd.weight": (d.embd, d.vocab), **(extra or {})}
    for number, block in enumerate(blocks):
        made |= {f"blk.{number}.{name}": sizes for name, sizes in block.items()}
    made |= norm("output_norm", d.embd, bias)
    return made if tied else made | linear("output", d.embd, d.vocab, head_bias)


def encoder(d: Dims, blocks: Iterable[Mapping[str, Sizes]], *, types: int = 2, positions: bool = False) -> Tensors:
    """A BERT: no head, and norms after each part."""
    made: Tensors = {"token_embd.weight": (d.embd, d.vocab), **norm("token_embd_norm", d.embd, bias=True)}
    if types:
        made["token_types.weight"] = (d.embd, types)
    if positions:
        made["position_embd.weight"] = (d.embd, d.context)
    for number, block in enumerate(blocks):
        after = norm("attn_output_norm", d.embd, bias=True) | norm("layer_output_norm", d.embd, bias=True)
        made |= {f"blk.{number}.{name}": sizes for name, sizes in (*block.items(), *after.items())}
    return made
