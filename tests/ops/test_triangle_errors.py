"""What the layer operator refuses, how it says so, and ATMOS_KERNELS."""

from __future__ import annotations

import pytest
import torch
from triangle_layer import make

from atmos_openmm.ops import triangle_multiplication, triangle_multiplication_route

NAMES = ("norm_in_weight", "norm_in_bias", "norm_out_weight", "norm_out_bias")
NAMES += ("linear_a_p", "linear_a_g", "linear_b_p", "linear_b_g", "linear_g", "linear_z")


def arguments():
    layer = make(4, 3, 5, batch=2, dtype=torch.float32)
    return {
        "z": layer.z,
        "mask": layer.mask,
        **dict(zip(NAMES, layer.parameters, strict=True)),
        "outgoing": True,
    }


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"z": torch.ones(4, 4, 3)}, r"z has shape \[4, 4, 3\]; expected \[B, N, N, C\]"),
        ({"z": torch.ones(2, 4, 5, 3)}, r"z has shape \[2, 4, 5, 3\].*two pair dimensions equal"),
        ({"z": torch.ones(2, 4, 4, 3).half()}, "z has dtype Half; expected float32, float64 or"),
        ({"mask": torch.ones(2, 4, 4, 1)}, r"mask has shape \[2, 4, 4, 1\]; expected \[B, N, N\]"),
        ({"mask": torch.ones(1, 4, 4)}, r"mask has shape \[1, 4, 4\]; expected \[B, N, N\] of z"),
        ({"mask": torch.ones(2, 4, 4).long()}, "mask has dtype Long; expected a floating dtype"),
        ({"norm_in_bias": torch.ones(4)}, r"norm_in_bias has shape \[4\]; expected \[C\] = \[3\]"),
        ({"norm_out_weight": torch.ones(3)}, r"norm_out_weight .* expected \[H\] = \[5\]"),
        ({"linear_a_p": torch.ones(3)}, r"linear_a_p has shape \[3\]; expected \[H, C\]"),
        ({"linear_b_g": torch.ones(3, 5)}, r"linear_b_g .* expected \[H, C\] = \[5, 3\]"),
        ({"linear_z": torch.ones(5, 3)}, r"linear_z .* expected \[C, H\] = \[3, 5\]"),
        ({"linear_g": torch.ones(3, 3).double()}, "linear_g has dtype Double and z Float"),
    ],
)
def test_wrong_arguments_are_named(changed, message, device):
    given = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in {**arguments(), **changed}.items()
    }
    with pytest.raises(RuntimeError, match=message):
        triangle_multiplication(**given)


def test_tensors_on_two_devices_are_refused():
    given = {**arguments(), "linear_z": torch.ones(3, 5, device="meta")}
    with pytest.raises(RuntimeError, match="linear_z is on meta and z on cpu; expected one device"):
        triangle_multiplication(**given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"grad": torch.ones(2, 4, 4, 2)},
            r"gradient has shape \[2, 4, 4, 2\]; expected that of z",
        ),
        ({"grad": torch.ones(2, 4, 4, 3).double()}, "gradient has dtype Double; expected that"),
        ({"x": torch.ones(2, 4, 4, 5)}, r"x has shape \[2, 4, 4, 5\]; expected \[B, H, N, N\]"),
        ({"x": torch.ones(2, 5, 4)}, "expected the second result of"),
    ],
)
def test_wrong_gradients_are_named(changed, message):
    given = {"grad": torch.ones(2, 4, 4, 3), "x": torch.ones(2, 5, 4, 4), **changed}
    z, mask, *rest = arguments().values()
    with pytest.raises(RuntimeError, match=message):
        torch.ops.atmos.triangle_multiplication_backward(
            given["grad"], z, mask, given["x"], *rest, False, 1e-5
        )


def test_a_mask_that_wants_a_gradient_is_refused():
    given = arguments()
    given["mask"].requires_grad_()
    with pytest.raises(RuntimeError, match="no gradient with respect to the mask"):
        triangle_multiplication(**given)
    with torch.no_grad():
        assert triangle_multiplication(**given).shape == (2, 4, 4, 3)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_a_second_derivative_is_refused(kernels, monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", kernels)
    given = arguments()
    z = given["z"].requires_grad_()
    out = triangle_multiplication(**given)
    (grad,) = torch.autograd.grad(out.square().sum(), z, create_graph=True)
    assert grad.requires_grad
    with pytest.raises(RuntimeError, match="first derivatives only"):
        grad.sum().backward()


def test_meta_tensors_have_the_shapes_and_no_data():
    given = {
        name: value.to("meta") if isinstance(value, torch.Tensor) else value
        for name, value in arguments().items()
    }
    z = given["z"].requires_grad_()
    out = triangle_multiplication(**given)
    assert out.is_meta and out.shape == z.shape and out.dtype == z.dtype
    (grad,) = torch.autograd.grad(out.sum(), z)
    assert grad.is_meta and grad.shape == z.shape


def test_the_route_is_chosen_by_device_dtype_and_width(monkeypatch):
    z = torch.ones(1, 2, 2, 3)
    elsewhere = torch.ones(1, 2, 2, 3, device="meta")  # stands for a device without kernels
    for value in (None, "", "auto"):
        if value is None:
            monkeypatch.delenv("ATMOS_KERNELS", raising=False)
        else:
            monkeypatch.setenv("ATMOS_KERNELS", value)
        assert triangle_multiplication_route(z, 5) == "kernel"
        assert triangle_multiplication_route(elsewhere, 5) == "reference"
    monkeypatch.setenv("ATMOS_KERNELS", "reference")
    assert triangle_multiplication_route(z, 5) == "reference"
    monkeypatch.setenv("ATMOS_KERNELS", "strict")
    assert triangle_multiplication_route(z, 5) == "kernel"
    with pytest.raises(
        RuntimeError, match=r"no kernel for dtype Float on meta with C = 3 and H = 5"
    ):
        triangle_multiplication_route(elsewhere, 5)


def test_an_unknown_choice_of_kernels_is_refused(monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", "fastest")
    with pytest.raises(RuntimeError, match='ATMOS_KERNELS is "fastest"; expected auto'):
        triangle_multiplication(**arguments())


def test_kernels_and_reference_are_two_computations(monkeypatch):
    # If ATMOS_KERNELS did nothing, the comparisons of the two elsewhere would compare nothing.
    layer = make(9, 32, 32, dtype=torch.float32)
    given = (layer.z, layer.mask, *layer.parameters, True)
    monkeypatch.setenv("ATMOS_KERNELS", "strict")
    kernel = triangle_multiplication(*given)
    monkeypatch.setenv("ATMOS_KERNELS", "reference")
    reference = triangle_multiplication(*given)
    assert not torch.equal(kernel, reference)
    assert (kernel - reference).abs().max() <= 1e-5 * reference.abs().max()
