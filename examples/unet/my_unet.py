"""A U-Net of the user's own: one file, and the file beside it that it imports."""

import torch
from torch import nn
from unet_blocks import double_conv


class UNet(nn.Module):
    def __init__(self, channels=3, classes=1, width=4):
        super().__init__()
        self.down = double_conv(channels, width)
        self.bottom = double_conv(width, 2 * width)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.top = double_conv(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skipped = self.down(x)
        upper = self.up(self.bottom(self.pool(skipped)))
        return self.head(self.top(torch.cat([skipped, upper], dim=1)))
