"""What the triangle contraction refuses, and how it says so."""

from __future__ import annotations

import pytest
import torch

from atmos_openmm.ops import triangle_contraction


def arguments():
    return {
        "a": torch.ones(2, 4, 4, 3),
        "b": torch.ones(2, 4, 4, 3),
        "mask": torch.ones(2, 4, 4),
        "outgoing": True,
    }


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a": torch.ones(4, 4, 3)}, r"a has shape \[4, 4, 3\]; expected \[B, N, N, C\]"),
        ({"a": torch.ones(2, 4, 5, 3)}, r"a has shape \[2, 4, 5, 3\].*two pair dimensions equal"),
        ({"b": torch.ones(2, 4, 4, 1)}, r"a has shape .* and b \[2, 4, 4, 1\]; expected equal"),
        ({"mask": torch.ones(2, 4, 4, 1)}, r"mask has shape \[2, 4, 4, 1\]; expected \[B, N, N\]"),
        ({"mask": torch.ones(1, 4, 4)}, r"mask has shape \[1, 4, 4\]; expected \[B, N, N\] of a"),
        ({"b": torch.ones(2, 4, 4, 3).double()}, "a has dtype Float and b Double; expected one"),
        ({"mask": torch.ones(2, 4, 4, dtype=torch.int64)}, "mask has dtype Long; expected"),
        (
            {"a": torch.ones(2, 4, 4, 3).half(), "b": torch.ones(2, 4, 4, 3).half()},
            "a has dtype Half; expected float32, float64 or bfloat16",
        ),
    ],
)
def test_wrong_arguments_are_named(changed, message, device):
    given = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in {**arguments(), **changed}.items()
    }
    with pytest.raises(RuntimeError, match=message):
        triangle_contraction(**given)


def test_tensors_on_two_devices_are_refused():
    given = {**arguments(), "b": torch.ones(2, 4, 4, 3, device="meta")}
    with pytest.raises(RuntimeError, match="a is on cpu, b on meta and mask on cpu; expected one"):
        triangle_contraction(**given)


@pytest.mark.parametrize(
    ("grad", "message"),
    [
        (torch.ones(2, 4, 4, 2), r"gradient has shape \[2, 4, 4, 2\]; expected that of a"),
        (torch.ones(2, 4, 4, 3).double(), "gradient has dtype Double; expected that of a, Float"),
    ],
)
def test_wrong_gradients_are_named(grad, message):
    with pytest.raises(RuntimeError, match=message):
        torch.ops.atmos.triangle_contraction_backward(grad, *arguments().values())


def test_a_mask_that_wants_a_gradient_is_refused():
    given = arguments()
    given["mask"].requires_grad_()
    with pytest.raises(RuntimeError, match="no gradient with respect to the mask"):
        triangle_contraction(**given)
    with torch.no_grad():
        assert triangle_contraction(**given).shape == (2, 4, 4, 3)


def test_a_second_derivative_is_refused():
    given = arguments()
    a = given["a"].requires_grad_()
    (grad,) = torch.autograd.grad(
        triangle_contraction(**given).square().sum(), a, create_graph=True
    )
    assert grad.requires_grad
    with pytest.raises(RuntimeError, match="first derivatives only"):
        grad.sum().backward()


def test_meta_tensors_have_the_shapes_and_no_data():
    given = {
        name: value.to("meta") if isinstance(value, torch.Tensor) else value
        for name, value in arguments().items()
    }
    a = given["a"].requires_grad_()
    out = triangle_contraction(**given)
    assert out.is_meta and out.shape == a.shape and out.dtype == a.dtype
    (grad,) = torch.autograd.grad(out.sum(), a)
    assert grad.is_meta and grad.shape == a.shape
