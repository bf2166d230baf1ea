"""What is changed in a network before OpenVINO compiles it for a CPU: layouts and element types, never its numbers."""

from __future__ import annotations

from collections.abc import Collection

from rfkernels.engines.silent_openvino import PrePostProcessor, openvino

PLANAR_RANK = 4

# Left alone, OpenVINO lays the channels of a pixel side by side for its bfloat16 convolutions, and then copies every
# concatenation. Its other kind keeps blocks of 16 channels together, concatenates in place and is as fast in itself:
# 3 % less for a YOLOv8n (Zen 4). Where the CPU multiplies matrices in tiles (AMX), the kinds named first are several
# times as fast; such a CPU has not been tried.
_PREFERRED_CONVOLUTIONS = "cpu:brgconv_avx512_amx,cpu:brgconv_avx512_amx_1x1,cpu:jit_avx512"
_PRIORITY_KEY = "primitives_priority_0"
_BEARER = "Relu"
# The plugin takes this attribute in a type of OpenVINO's own that Python can neither name nor make; but a network that
# is read has it, and what was read can be handed on.
_NETWORK_WITH_PRIORITY = f"""<net name="priority" version="11"><layers>
<layer id="0" name="input" type="Parameter" version="opset1"><data shape="1" element_type="f32"/>
<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="1" name="bearer" type="{_BEARER}" version="opset1">
<rt_info><attribute name="primitives_priority" version="0" value="{_PREFERRED_CONVOLUTIONS}"/></rt_info>
<input><port id="0" precision="FP32"><dim>1</dim></port></input>
<output><port id="1" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="2" name="output" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="1" to-layer="2" to-port="0"/></edges></net>"""


def arrange_ports(model: openvino.Model, *, bfloat16: bool, bfloat16_outputs: Collection[str] = ()) -> openvino.Model:
    """Let inputs and outputs be in memory as the convolutions want and leave them.

    Outputs [N, C, H, W] keep the channels of a pixel side by side: that saves the engine a transposition, and whoever
    looks for the greatest channel of a pixel reads it from one place.

    Args:
        bfloat16: that the network is to be computed in it. What enters convolutions only, or leaves one, is then
            bfloat16: its values are rounded to that in any case, and half the bytes need no conversion. Anything else
            keeps its type: OpenVINO computes what follows the last convolution in float32.
        bfloat16_outputs: names of outputs that are to be bfloat16 in any case.
    """
    changed = PrePostProcessor(model)
    for index, port in enumerate(model.inputs):
        users = [user.get_node() for user in port.get_target_inputs()]
        if bfloat16 and _is_planar_float32(port) and users and all(map(_is_convolution, users)):
            changed.input(index).tensor().set_element_type(openvino.Type.bf16)
    for index, port in enumerate(model.outputs):
        if len(port.partial_shape) != PLANAR_RANK:
            continue
        changed.output(index).model().set_layout(openvino.Layout("NCHW"))
        changed.output(index).tensor().set_layout(openvino.Layout("NHWC"))
        leaves_convolution = bfloat16 and _is_planar_float32(port) and _convolution_of(port.get_node())
        if leaves_convolution or not port.get_names().isdisjoint(bfloat16_outputs):
            changed.output(index).tensor().set_element_type(openvino.Type.bf16)
    return changed.build()


def prefer_blocks_of_channels(core: openvino.Core, model: openvino.Model) -> bool:
    """Ask for the convolutions that concatenate in place, except where one ends the network: outputs are wanted with
    the channels of a pixel side by side.

    Returns:
        Whether this release of OpenVINO can be asked. If not, the network is as it was.
    """
    nodes = core.read_model(_NETWORK_WITH_PRIORITY.encode()).get_ops()
    bearer = next((node for node in nodes if node.get_type_name() == _BEARER), None)
    if bearer is None or _PRIORITY_KEY not in bearer.get_rt_info():
        return False
    priority = bearer.get_rt_info()[_PRIORITY_KEY]
    last = {
        convolution.get_friendly_name() for result in model.get_results() for convolution in _convolution_of(result)
    }
    for node in model.get_ops():
        if _is_convolution(node) and node.get_friendly_name() not in last:
            node.set_rt_info(priority, _PRIORITY_KEY)
    return True


def _is_planar_float32(port: openvino.Output) -> bool:
    return len(port.partial_shape) == PLANAR_RANK and port.element_type == openvino.Type.f32


def _is_convolution(node: openvino.Node) -> bool:
    return str(node.get_type_name()) == "Convolution"


def _convolution_of(result: openvino.Node) -> list[openvino.Node]:
    """The convolution whose values a network's result is, with or without a bias; none where anything lies between."""
    before = result.input_value(0).get_node()
    if before.get_type_name() == "Add":
        sources = [before.input_value(index) for index in range(2)]
        convolution = next((source for source in sources if _is_convolution(source.get_node())), None)
        if convolution is None or not any(_is_bias(source, convolution) for source in sources):
            return []
        before = convolution.get_node()
    return [before] if _is_convolution(before) else []


def _is_bias(port: openvino.Output, convolution: openvino.Output) -> bool:
    """One constant for each channel, as the ONNX reader writes it: anything else is added in float32, afterwards."""
    node = port.get_node()
    if node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    channels = convolution.partial_shape[1]
    return (
        node.get_type_name() == "Constant"
        and channels.is_static
        and port.partial_shape.is_static
        and list(port.partial_shape.to_shape()) == [1, channels.get_length(), 1, 1]
    )
