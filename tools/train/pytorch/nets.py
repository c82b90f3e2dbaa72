"""MoNet and U-Net as anyone would write them in PyTorch, from their descriptions alone, and the loss that they are trained with."""

import torch
from torch import nn
from torch.nn import functional as F


def conv_bn_elu(inputs, outputs, kernel=3, stride=1, dilation=1):
    padding = (dilation * (kernel - 1) - stride + 1) // 2 if stride > 1 else dilation * (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ELU())


class DecreasingDilation(nn.Module):
    """Convolutions of dilation 4, 3, 2 and 1 with two residual additions."""

    def __init__(self, width, drop):
        super().__init__()
        self.c1, self.c2, self.c3, self.out = (conv_bn_elu(width, width, dilation=d) for d in (4, 3, 2, 1))
        self.drop = nn.Dropout2d(drop)

    def forward(self, x):
        c1 = self.drop(self.c1(x))
        c2 = self.drop(self.c2(x + c1))
        c3 = self.drop(self.c3(c2))
        return self.out(c2 + c3)


class MoNet(nn.Module):
    def __init__(self, channels=1, classes=1, width=16, drop=0.2):
        super().__init__()
        f, g, h = width, 2 * width, 4 * width
        self.enc0 = nn.Sequential(conv_bn_elu(channels, f), DecreasingDilation(f, drop))
        self.down0 = conv_bn_elu(f, f, 4, 2)
        self.enc1 = nn.Sequential(conv_bn_elu(f, g), DecreasingDilation(g, drop))
        self.down1 = conv_bn_elu(g, g, 4, 2)
        self.mid = nn.Sequential(conv_bn_elu(g, h), DecreasingDilation(h, drop))
        self.up1, self.up0 = self.up(h), self.up(g)
        self.dec1 = nn.Sequential(conv_bn_elu(g + h, g), DecreasingDilation(g, drop))
        self.dec0 = nn.Sequential(conv_bn_elu(f + g, f), DecreasingDilation(f, drop))
        self.head = nn.Sequential(nn.Conv2d(f, classes, 1, bias=False), nn.BatchNorm2d(classes))

    @staticmethod
    def up(width):
        conv = nn.ConvTranspose2d(width, width, 4, 2, 1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ELU())

    def forward(self, x):
        skip0 = self.enc0(x)
        skip1 = self.enc1(self.down0(skip0))
        x = self.mid(self.down1(skip1))
        x = self.dec1(torch.cat([skip1, self.up1(x)], 1))
        x = self.dec0(torch.cat([skip0, self.up0(x)], 1))
        return self.head(x)


def double(inputs, outputs):
    def part(i):
        return [nn.Conv2d(i, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    return nn.Sequential(*part(inputs), *part(outputs))


class UNet(nn.Module):
    def __init__(self, channels=1, classes=1, width=16):
        super().__init__()
        widths = [width << level for level in range(5)]
        self.down = nn.ModuleList(double(i, o) for i, o in zip([channels, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * f, f, 2, 2) for f in widths[-2::-1])
        self.join = nn.ModuleList(double(2 * f, f) for f in widths[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for up, join in zip(self.up, self.join):
            x = join(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


NETS = {"monet": MoNet, "unet16": UNet}


def parameters(net):
    """Counted as Keras counts, running statistics included."""
    running = [t for name, t in net.named_buffers() if not name.endswith("num_batches_tracked")]
    return sum(t.numel() for t in [*net.parameters(), *running])


def loss(logits, labels):
    """Binary cross-entropy plus one minus the soft Dice over the batch, for one class."""
    logits, truth = logits.float(), labels.unsqueeze(1).float()
    found = logits.sigmoid()
    dice = (2 * (found * truth).sum() + 1) / (found.sum() + truth.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice
