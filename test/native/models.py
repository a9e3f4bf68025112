"""The models of the parity test and the bench, and the optimizer of each. Both are as PyTorch makes them."""

import torch
import torchvision
from torch import nn

CLASSES = 10


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, CLASSES),
    )


def mlp():
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(3 * 28 * 28, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )


def resnet18():
    # The replaced layer has drawn its weights by now: a seed fixes this order too.
    model = torchvision.models.resnet18(weights=None)
    model.fc = nn.Linear(model.fc.in_features, CLASSES)
    return model


MODELS = {"cnn": cnn, "mlp": mlp, "resnet18": resnet18}

OPTIMIZERS = {
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
}
