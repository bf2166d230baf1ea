"""YOLOv8 in plain NumPy, written from the description of its blocks: what the emitted graphs are held to.

Batch normalisation is computed as it is defined, C2f splits its halves, and every kernel is a sum over its taps.
Nothing is shared with the code under test.
"""

import numpy as np

EPSILON = 1e-3
CLASSIFY_EPSILON = 1e-5
FIRST_REPEATS = {"n": (1, 2, 2, 1), "s": (1, 2, 2, 1), "m": (2, 4, 4, 2), "l": (3, 6, 6, 3), "x": (3, 6, 6, 3)}
NECK_REPEATS = {"n": 1, "s": 1, "m": 2, "l": 3, "x": 3}


def convolution(values, weight, stride=1):
    """values [channels, h, w], weight [out, channels, k, k], "same" padding -> [out, h / stride, w / stride], up."""
    kernel = weight.shape[2]
    padded = np.pad(values, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    height, width = (-(-side // stride) for side in values.shape[1:])
    result = np.zeros((weight.shape[0], height * width))
    taps = np.ascontiguousarray(weight.transpose(2, 3, 0, 1), dtype=np.float64)
    for row in range(kernel):
        for column in range(kernel):
            tap = padded[:, row : row + stride * height : stride, column : column + stride * width : stride]
            result += taps[row, column] @ tap.reshape(len(tap), -1)
    return result.reshape(-1, height, width)


class PlainYolov8:
    """A network over a dict of weights. With `rescale_rng` it makes the weights up as it runs.

    Made-up weights are scaled so that each channel is as strong as its batch normalisation expects: otherwise the
    signal dies half way down, and equal outputs prove nothing.
    """

    def __init__(self, weights, scale, rescale_rng=None, task="detect", keypoint_channels=0):
        self.weights, self.scale, self.rng = weights, scale, rescale_rng
        self.task, self.keypoint_channels = task, keypoint_channels
        self.epsilon = CLASSIFY_EPSILON if task == "classify" else EPSILON

    def block(self, name, values, outputs=None, kernel=None, stride=1):
        if self.rng is not None:
            self._make_up_block(name, values, outputs, kernel, stride)
        weights = {key: self.weights[f"{name}.bn.{key}"][:, None, None] for key in ("weight", "bias", "running_mean")}
        deviation = np.sqrt(self.weights[f"{name}.bn.running_var"].astype(np.float64) + self.epsilon)[:, None, None]
        result = convolution(values, self.weights[f"{name}.conv.weight"], stride)
        result = (result - weights["running_mean"]) / deviation * weights["weight"] + weights["bias"]
        return result * 0.5 * (1 + np.tanh(0.5 * result))  # SiLU, in a form that cannot overflow

    def plain(self, name, values, outputs=None):
        if self.rng is not None:
            weight = self.rng.standard_normal((outputs, len(values), 1, 1), np.float32)
            weight /= convolution(values, weight).std()
            self._store(name, weight=weight, bias=self.rng.normal(size=outputs))
        return convolution(values, self.weights[f"{name}.weight"]) + self.weights[f"{name}.bias"][:, None, None]

    def doubled(self, name, values):
        """A transposed convolution 2 x 2 of stride 2: every pixel becomes four, each by a matrix of its own."""
        channels, height, width = values.shape
        if self.rng is not None:
            weight = self.rng.standard_normal((channels, channels, 2, 2), np.float32) / np.sqrt(channels)
            self._store(name, weight=weight, bias=self.rng.normal(size=channels))
        weight = self.weights[f"{name}.weight"].astype(np.float64)
        result = np.empty((weight.shape[1], 2 * height, 2 * width))
        for row in range(2):
            for column in range(2):
                product = weight[:, :, row, column].T @ values.reshape(channels, -1)
                result[:, row::2, column::2] = product.reshape(-1, height, width)
        return result + self.weights[f"{name}.bias"][:, None, None]

    def matrix(self, name, values, outputs):
        """values [channels] -> [outputs]."""
        if self.rng is not None:
            weight = self.rng.standard_normal((outputs, len(values)), np.float32)
            self._store(name, weight=weight / np.sqrt((values**2).sum()), bias=self.rng.normal(size=outputs))
        return self.weights[f"{name}.weight"].astype(np.float64) @ values + self.weights[f"{name}.bias"]

    def _store(self, name, **arrays):
        self.weights.update({f"{name}.{key}": array.astype(np.float32) for key, array in arrays.items()})

    def _make_up_block(self, name, values, outputs, kernel, stride):
        weight = self.rng.standard_normal((outputs, len(values), kernel, kernel), np.float32)
        response = convolution(values, weight, stride)
        variance = self.rng.uniform(0.3, 3.0, outputs)
        # Means stay in the signal. Were they taken away, float32's rounding errors would grow from layer to layer.
        factor = np.sqrt(variance / (response**2).mean(axis=(1, 2)))
        mean = self.rng.normal(size=outputs) * 0.3
        self._store(f"{name}.conv", weight=weight * factor[:, None, None, None])
        self._store(
            f"{name}.bn",
            weight=self.rng.uniform(0.7, 1.3, outputs),
            bias=self.rng.normal(size=outputs) * 0.3,
            running_mean=mean,
            running_var=variance,
        )

    def c2f(self, name, values, outputs, repeats, shortcut):
        first, second = np.split(self.block(f"{name}.cv1", values, outputs, 1), 2)
        parts = [first, second]
        for repeat in range(repeats):
            hidden = self.block(f"{name}.m.{repeat}.cv1", parts[-1], outputs // 2, 3)
            hidden = self.block(f"{name}.m.{repeat}.cv2", hidden, outputs // 2, 3)
            parts.append(parts[-1] + hidden if shortcut else hidden)
        return self.block(f"{name}.cv2", np.concatenate(parts), outputs, 1)

    def sppf(self, name, values, outputs):
        parts = [self.block(f"{name}.cv1", values, len(values) // 2, 1)]
        for _ in range(3):
            padded = np.pad(parts[-1], ((0, 0), (2, 2), (2, 2)), constant_values=-np.inf)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
            parts.append(windows.max(axis=(3, 4)))
        return self.block(f"{name}.cv2", np.concatenate(parts), outputs, 1)

    def forward(self, image, widths, class_count):
        """image [3, h, w]; widths: output channels of layers 0, 1, 3, 5, 7 -> raw heads by name."""
        first = FIRST_REPEATS[self.scale]
        neck = NECK_REPEATS[self.scale]
        values = self.block("model.0", image, widths[0], 3, 2)
        stages = []
        for index, (width, repeats) in enumerate(zip(widths[1:], first, strict=True)):
            values = self.block(f"model.{2 * index + 1}", values, width, 3, 2)
            values = self.c2f(f"model.{2 * index + 2}", values, width, repeats, shortcut=True)
            stages.append(values)
        if self.task == "classify":
            means = self.block("model.9.conv", values, 1280, 1).mean(axis=(1, 2))
            return {"logits": self.matrix("model.9.linear", means, class_count)}
        _, third, fourth, _ = stages
        fifth = self.sppf("model.9", values, widths[4])

        def doubled(values):
            return values.repeat(2, axis=1).repeat(2, axis=2)

        upper = self.c2f("model.12", np.concatenate([doubled(fifth), fourth]), widths[3], neck, shortcut=False)
        level_8 = self.c2f("model.15", np.concatenate([doubled(upper), third]), widths[2], neck, shortcut=False)
        down = self.block("model.16", level_8, widths[2], 3, 2)
        level_16 = self.c2f("model.18", np.concatenate([down, upper]), widths[3], neck, shortcut=False)
        down = self.block("model.19", level_16, widths[3], 3, 2)
        level_32 = self.c2f("model.21", np.concatenate([down, fifth]), widths[4], neck, shortcut=False)

        hidden = {"cv2": max(64, widths[2] // 4), "cv3": max(widths[2], min(class_count, 100))}
        branches = [("cv2", "box", 64), ("cv3", "class", class_count)]
        if self.task == "segment":
            hidden["cv4"] = max(32, widths[2] // 4)
            branches.append(("cv4", "coefficients", 32))
        elif self.task == "pose":
            hidden["cv4"] = max(self.keypoint_channels, widths[2] // 4)
            branches.append(("cv4", "keypoints", self.keypoint_channels))
        outputs = {}
        for branch, kind, channels in branches:
            for level, (stride, values) in enumerate(((8, level_8), (16, level_16), (32, level_32))):
                name = f"model.22.{branch}.{level}"
                result = self.block(f"{name}.0", values, hidden[branch], 3)
                result = self.block(f"{name}.1", result, hidden[branch], 3)
                outputs[f"{kind}_{stride}"] = self.plain(f"{name}.2", result, channels)
        if self.task == "segment":
            # The only widths that do not depend on others of the network: 256 base channels, cut at no scale.
            values = self.block("model.22.proto.cv1", level_8, PROTOTYPE_WIDTHS[self.scale], 3)
            values = self.doubled("model.22.proto.upsample", values)
            values = self.block("model.22.proto.cv2", values, PROTOTYPE_WIDTHS[self.scale], 3)
            outputs["prototypes"] = self.block("model.22.proto.cv3", values, 32, 1)
        return outputs


PROTOTYPE_WIDTHS = {"n": 64, "s": 128, "m": 192, "l": 256, "x": 320}
CLASSIFY_LAST_WIDTHS = {"n": 256, "s": 512, "m": 768, "l": 1024, "x": 1280}
WIDTHS = {
    "n": (16, 32, 64, 128, 256),
    "s": (32, 64, 128, 256, 512),
    "m": (48, 96, 192, 384, 576),
    "l": (64, 128, 256, 512, 512),
    "x": (80, 160, 320, 640, 640),
}


def widths_of(scale, task):
    return (*WIDTHS[scale][:4], CLASSIFY_LAST_WIDTHS[scale]) if task == "classify" else WIDTHS[scale]


def live_network(scale, class_count, seed, size, task="detect", keypoint_channels=0):
    """A network whose signal lives on a random picture -> weights, picture [3, h, w], raw outputs by definition."""
    rng = np.random.default_rng(seed)
    weights = {}
    if task != "classify":
        weights["model.22.dfl.conv.weight"] = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
    image = rng.random((3, *size), np.float32)
    plain = PlainYolov8(weights, scale, rng, task, keypoint_channels)
    outputs = plain.forward(image, widths_of(scale, task), class_count)
    return weights, image, outputs


def live_weights(scale, class_count, seed, task="detect", keypoint_channels=0):
    """Weights of a network whose signal lives; with the fixed weights of the DFL, where it has one."""
    return live_network(scale, class_count, seed, (64, 64), task, keypoint_channels)[0]


def plain_heads(weights, scale, class_count, image, task="detect", keypoint_channels=0):
    """The raw outputs by definition, in float64. image [3, h, w]."""
    plain = PlainYolov8(weights, scale, None, task, keypoint_channels)
    return plain.forward(image, widths_of(scale, task), class_count)
