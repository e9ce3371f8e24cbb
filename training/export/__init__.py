"""From a checkpoint's weights to the graph that serves: build, quantise, compare. Start reading at `onnx_graph`."""
