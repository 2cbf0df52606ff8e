"""Export models, compare each export with its model, and quantise.

exporter        a model file to a folder that every command takes as a model
conversion      a network to ONNX, OpenVINO or an exported torch program
labelled_views  the videos on which an export is compared, calibrated and measured
quantize        static int8 that keeps the accuracy
dequantize_late int8 graphs in a form that engines compute in int8
refit           the last layer of a network in closed form, for descriptors in int8
"""

from __future__ import annotations

from vidcli.export.exporter import FORMATS, ExportOptions, ExportReport, export_model

__all__ = ["FORMATS", "ExportOptions", "ExportReport", "export_model"]
