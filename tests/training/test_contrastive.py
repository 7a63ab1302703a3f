"""The contrast compared with loops and check values, and two processes compared with one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from x_instruction.engines.local.hidden_states import hidden_states, pool
from x_instruction.training.contrastive import gather_rows, info_nce

# Bad input


@pytest.mark.parametrize(
    ("left", "right"), [((1, 4), (1, 4)), ((0, 4), (0, 4)), ((3, 4), (2, 4)), ((3, 4), (3, 5)), ((4,), (4,))]
)
def test_contrast_refuses_states_without_pairs(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        info_nce(torch.ones(left), torch.ones(right), 0.05)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_contrast_refuses_a_temperature_that_is_not_above_0(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature is"):
        info_nce(torch.eye(2), torch.eye(2), temperature)


def test_pooling_refuses_a_sentence_without_tokens_and_another_shape() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        pool(torch.ones(2, 3, 4), torch.tensor([[1, 1, 1], [0, 0, 0]]), "last")
    with pytest.raises(ValueError, match=r"their mask is \(2, 4\)"):
        pool(torch.ones(2, 3, 4), torch.ones(2, 4), "mean")


def test_a_missing_layer_is_refused() -> None:
    network = networks()["llama"]
    ids = torch.tensor([[5, 6]])
    for layer in (-1, 4):
        with pytest.raises(IndexError):
            hidden_states(network, ids, torch.ones_like(ids), layer)


# Pooling


def test_pooling_by_hand_whatever_the_padding_side() -> None:
    hidden = torch.tensor(
        [[[1.0, 2.0], [3.0, 6.0], [torch.nan, torch.nan]], [[torch.inf, 9.0], [4.0, 4.0], [8.0, 2.0]]]
    )
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert pool(hidden, mask, "last").tolist() == [[3.0, 6.0], [8.0, 2.0]]
    assert pool(hidden, mask, "mean").tolist() == [[2.0, 4.0], [6.0, 3.0]]


def test_the_last_token_is_the_last_unmasked_one() -> None:
    hidden = torch.arange(4.0)[None, :, None]
    assert pool(hidden, torch.tensor([[0, 1, 0, 1]]), "last").item() == 3.0
    assert pool(hidden, torch.tensor([[1, 0, 1, 0]]), "last").item() == 2.0


def test_pooling_gives_padding_no_gradient_and_means_in_float32() -> None:
    hidden = torch.full((1, 300, 1), 1.0, dtype=torch.bfloat16, requires_grad=True)
    mask = torch.ones(1, 300)
    mask[0, 299] = 0
    pooled = pool(hidden, mask, "mean")
    pooled.sum().backward()
    assert (pooled.dtype, pooled.item()) == (torch.float32, 1.0)
    assert hidden.grad is not None
    assert hidden.grad[0, 299, 0] == 0
    assert hidden.grad[0, 0, 0] > 0


# InfoNCE


def naive(left: list[list[float]], right: list[list[float]], temperature: float) -> float:
    def cosine(a: list[float], b: list[float]) -> float:
        return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    total = 0.0
    for i in range(len(left)):
        terms = [math.exp(cosine(left[i], other) / temperature) for other in right]
        total -= math.log(terms[i] / math.fsum(terms))
    return total / len(left)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(1, 5), st.sampled_from([0.05, 0.3, 1.0]), st.integers(0, 10_000))
def test_contrast_equals_naive_loops(n: int, width: int, temperature: float, seed: int) -> None:
    left, right = torch.randn(2, n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = naive(left.tolist(), right.tolist(), temperature)
    assert info_nce(left, right, temperature).item() == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert info_nce(left.float(), right.float(), temperature).item() == pytest.approx(expected, rel=1e-3, abs=1e-6)
    both = (expected + naive(right.tolist(), left.tolist(), temperature)) / 2
    assert info_nce(left, right, temperature, symmetric=True).item() == pytest.approx(both, rel=1e-6, abs=1e-12)


def test_directions_differ() -> None:
    # Both of the left see the first of the right: one is right, one wrong; from the right both are ties.
    left, right = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    forward = (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    assert info_nce(left, right, 1.0).item() == pytest.approx(forward)
    assert info_nce(right, left, 1.0).item() == pytest.approx(math.log(2))
    assert info_nce(left, right, 1.0, symmetric=True).item() == pytest.approx((forward + math.log(2)) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contrast_equals_check_values_of_the_method(dtype: torch.dtype) -> None:
    same = torch.full((2, 3), 0.7, dtype=dtype)
    assert info_nce(same, same, 0.05).item() == pytest.approx(math.log(2), rel=1e-6)
    apart = torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=dtype)
    assert info_nce(apart, apart, 0.05).item() == pytest.approx(2.0611536e-9, rel=1e-4)


def test_the_worst_case_is_finite_and_so_is_its_gradient() -> None:
    left = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss = info_nce(left, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.001)
    loss.backward()
    assert loss.item() == pytest.approx(2_000.0)
    assert left.grad is not None
    assert torch.isfinite(left.grad).all()
    assert info_nce(torch.zeros(2, 3), torch.zeros(2, 3), 0.05).item() == pytest.approx(math.log(2))
    assert info_nce(torch.eye(2, dtype=torch.bfloat16), torch.eye(2), 0.05).dtype == torch.float32


def test_the_gradient_equals_that_of_cross_entropy() -> None:
    left, right = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for tensor in (left, right):
        tensor.requires_grad_()
    expected = torch.autograd.grad(
        torch.nn.functional.cross_entropy(
            torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=2) / 0.05, torch.arange(5)
        ),
        [left, right],
    )
    for found, other in zip(torch.autograd.grad(info_nce(left, right, 0.05), [left, right]), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-7, atol=1e-9)


# States

_SIZES = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2}


def networks() -> dict[str, torch.nn.Module]:
    from transformers import (
        BloomConfig,
        BloomForCausalLM,
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        LlamaConfig,
        LlamaForCausalLM,
        XGLMConfig,
        XGLMForCausalLM,
    )

    torch.manual_seed(0)
    wide = {"intermediate_size": 24, "num_hidden_layers": 3, "num_key_value_heads": 1}
    return {
        "llama": LlamaForCausalLM(LlamaConfig(**_SIZES, **wide)),
        "gemma3": Gemma3ForCausalLM(Gemma3TextConfig(**_SIZES, **wide, head_dim=8, sliding_window=4, pad_token_id=0)),
        "bloom": BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=16, n_head=2, n_layer=3)),
        "xglm": XGLMForCausalLM(
            XGLMConfig(vocab_size=40, d_model=16, ffn_dim=24, num_layers=3, attention_heads=2, pad_token_id=1)
        ),
    }


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bloom", "xglm"])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_states_equal_hidden_states_and_later_layers_are_not_run(kind: str, layer: int) -> None:
    network = networks()[kind].eval()
    ids = torch.tensor([[5, 6, 7, 8, 9], [7, 9, 11, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    expected = network(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert len(expected) == 4
    ran = []
    stack = next(part for part in network.get_decoder().children() if isinstance(part, torch.nn.ModuleList))
    for number, part in enumerate(stack):
        part.register_forward_hook(lambda *_, number=number: ran.append(number))
    found = hidden_states(network, ids, mask, layer)
    assert torch.equal(found[mask.bool()], expected[layer][mask.bool()])
    assert ran == list(range(layer))
    # The hooks are removed.
    again = network(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert torch.equal(again[-1], expected[-1])


@pytest.mark.parametrize("reentrant", [False, True])
def test_states_with_gradient_checkpointing_have_the_same_gradient(reentrant: bool) -> None:
    network = networks()["llama"].train()
    ids = torch.tensor([[5, 6, 7]])

    def gradient() -> list[torch.Tensor]:
        network.zero_grad()
        hidden_states(network, ids, torch.ones_like(ids), 1).square().sum().backward()
        return [weight.grad.clone() for name, weight in network.named_parameters() if ".0." in name]

    plain = gradient()
    for part in network.get_decoder().modules():
        if hasattr(part, "gradient_checkpointing"):
            part.gradient_checkpointing = True
            part._gradient_checkpointing_func = partial(checkpoint, use_reentrant=reentrant)
    network.enable_input_require_grads()
    checkpointed = gradient()
    assert len(plain) > 5
    assert all(torch.equal(one, other) for one, other in zip(plain, checkpointed, strict=True))


def test_states_of_an_unknown_architecture_come_from_the_whole_network() -> None:
    network = networks()["llama"].eval()
    ids = torch.tensor([[5, 6, 7]])
    expected = hidden_states(network, ids, torch.ones_like(ids), 1)
    network.get_decoder().spare = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))
    assert torch.equal(hidden_states(network, ids, torch.ones_like(ids), 1), expected)


# Over processes


def test_one_process_gathers_its_own_states() -> None:
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is rows


def share(rank: int, shares: list[int], symmetric: bool, folder: Path) -> None:
    """What one process computes of its own rows."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=len(shares))
    weight, left, right = joint(sum(shares))
    begin = sum(shares[:rank])
    own = slice(begin, begin + shares[rank])
    loss = info_nce(gather_rows(left[own] @ weight), gather_rows(right[own] @ weight), 0.05, symmetric)
    loss.backward()
    gradient = weight.grad.clone()
    # What DistributedDataParallel does: the mean over processes.
    torch.distributed.all_reduce(gradient)
    torch.save((loss.detach(), gradient / len(shares)), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def joint(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(3)
    weight = torch.randn(6, 4, generator=source, dtype=torch.float64).requires_grad_()
    left, right = torch.randn(2, n, 6, generator=source, dtype=torch.float64)
    return weight, left, right


@pytest.mark.parametrize(("shares", "symmetric"), [([3, 3], False), ([4, 1], True), ([0, 3], False)])
def test_two_processes_have_the_loss_and_mean_gradient_of_one(
    shares: list[int], symmetric: bool, tmp_path: Path
) -> None:
    for_all = [json.dumps(shares), json.dumps(symmetric), str(tmp_path)]
    processes = [subprocess.Popen([sys.executable, __file__, str(rank), *for_all]) for rank in range(len(shares))]
    assert [process.wait(120) for process in processes] == [0] * len(shares)
    weight, left, right = joint(sum(shares))
    expected = info_nce(left @ weight, right @ weight, 0.05, symmetric)
    expected.backward()
    for rank in range(len(shares)):
        loss, gradient = torch.load(tmp_path / f"{rank}.pt")
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-9, atol=1e-12)
        assert gradient.abs().max() > 0.01


if __name__ == "__main__":
    share(int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]), Path(sys.argv[4]))
