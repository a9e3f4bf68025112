"""Functions that formats and optimizers call in the worker."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torchwire_worker.helpers.formats import denormalize, normalize
from torchwire_worker.helpers.optim import parameter_groups


class TestParameterGroups:
    @pytest.fixture
    def model(self) -> torch.nn.Sequential:
        return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))

    def names(self, model: torch.nn.Module, groups: list[dict[str, Any]]) -> dict[str, list[str]]:
        name_of = {id(param): name for name, param in model.named_parameters()}
        return {group["name"]: [name_of[id(param)] for param in group["params"]] for group in groups}

    def test_what_is_in_no_group_comes_first(self, model: torch.nn.Sequential) -> None:
        groups = parameter_groups(model, [{"name": "head", "params": model[2].parameters(), "lr": 0.5}])
        assert self.names(model, groups) == {"default": ["0.weight", "0.bias"], "head": ["2.weight", "2.bias"]}
        assert [group.get("lr") for group in groups] == [None, 0.5]

    def test_it_is_a_difference_by_identity_also_of_equal_parameters(self, model: torch.nn.Sequential) -> None:
        model[2].load_state_dict(model[0].state_dict())
        groups = parameter_groups(model, [{"name": "body", "params": model[0].weight}])
        assert self.names(model, groups) == {"default": ["0.bias", "2.weight", "2.bias"], "body": ["0.weight"]}

    @pytest.mark.parametrize(
        "params",
        [
            lambda m: m[0],
            lambda m: m[0].parameters(),
            lambda m: [m[0].weight, m[0].bias],
            lambda m: iter([m[0].weight, iter([m[0].bias])]),
            lambda m: (m[0].weight, m[0], m[0].parameters()),
        ],
    )
    def test_modules_tensors_and_iterables_of_them_are_parameters_once_each(
        self, model: torch.nn.Sequential, params: Any
    ) -> None:
        groups = parameter_groups(model, [{"name": "a", "params": params(model)}])
        assert self.names(model, groups) == {"default": ["2.weight", "2.bias"], "a": ["0.weight", "0.bias"]}

    def test_a_shared_parameter_is_one(self, model: torch.nn.Sequential) -> None:
        model[2].weight = model[0].weight
        groups = parameter_groups(model, [{"name": "a", "params": model[2]}])
        assert self.names(model, groups) == {"default": ["0.bias"], "a": ["0.weight", "2.bias"]}

    def test_default_is_left_out_where_it_is_empty(self, model: torch.nn.Sequential) -> None:
        assert list(self.names(model, parameter_groups(model, [{"name": "all", "params": model}]))) == ["all"]

    def test_parameters_of_nowhere_are_a_group_too(self, model: torch.nn.Sequential) -> None:
        temperature = torch.nn.Parameter(torch.ones(()))
        groups = parameter_groups(model, [{"name": "temperature", "params": temperature}])
        assert [len(group["params"]) for group in groups] == [4, 1]
        assert groups[1]["params"][0] is temperature

    def test_a_parameter_in_two_groups_names_both(self, model: torch.nn.Sequential) -> None:
        with pytest.raises(
            ValueError, match=r'^the parameter "0\.bias" is in two groups, "a" and "b"; each parameter has one$'
        ):
            parameter_groups(model, [{"name": "a", "params": model[0]}, {"name": "b", "params": [model[0].bias]}])
        other = torch.nn.Linear(1, 1)
        with pytest.raises(ValueError, match='^a parameter outside of the model is in two groups, "a" and "b"'):
            parameter_groups(model, [{"name": "a", "params": other}, {"name": "b", "params": other}])

    @pytest.mark.parametrize("params", [[], (), iter([]), torch.nn.ReLU()])
    def test_a_group_of_none_is_an_error(self, model: torch.nn.Sequential, params: Any) -> None:
        with pytest.raises(ValueError, match='^group "a": params gave no parameters$'):
            parameter_groups(model, [{"name": "a", "params": params}])

    @pytest.mark.parametrize(
        ("params", "kind"), [(None, "NoneType"), ([1], "int"), ("0.weight", "str"), ({"a": 1}, "str")]
    )
    def test_what_is_no_parameter_is_an_error(self, model: torch.nn.Sequential, params: Any, kind: str) -> None:
        with pytest.raises(
            TypeError, match=f'^group "a": params gave {kind}, which is no parameter, module or iterable of these$'
        ):
            parameter_groups(model, [{"name": "a", "params": params}])


class TestNormalize:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    @pytest.mark.parametrize(("mean", "std"), [([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5], [2])])
    def test_it_is_torchvisions(self, dtype: torch.dtype, mean: list[float], std: list[float]) -> None:
        from torchvision.transforms.functional import normalize as expected

        x = torch.rand(2, 3, 4, 5).to(dtype)
        before = x.clone()
        assert torch.equal(normalize(x, mean, std, 2), expected(x, mean, std))
        assert torch.equal(x, before)

    def test_the_channels_are_where_they_are_said_to_be(self) -> None:
        x = torch.ones(2, 3, 4, 5, 6)
        expected = torch.tensor([0.0, -1.0, -2.0]).view(3, 1, 1, 1).expand_as(x)
        assert torch.equal(normalize(x, [1, 2, 3], [1], 3), expected)
        assert torch.equal(denormalize(expected, [1, 2, 3], [1], 3), x)

    def test_what_was_made_in_inference_mode_serves_training(self) -> None:
        mean, std = [0.123], [0.456]
        with torch.inference_mode():
            normalize(torch.ones(1, 1, 1, 1), mean, std, 2)
        x = torch.ones(1, 1, 1, 1, requires_grad=True)
        normalize(x, mean, std, 2).backward()
        assert x.grad is not None
