"""Exported models: written, checked against the model they came from, and quantised.

convert     a network to ONNX, OpenVINO or an exported torch program
videos      what it is compared, calibrated and measured on
quantize    static int8 that keeps its accuracy
run         a model file to a folder that every command takes as a model
"""

from __future__ import annotations

from vidcli.export.run import FORMATS, ExportOptions, ExportReport, export_model

__all__ = ["FORMATS", "ExportOptions", "ExportReport", "export_model"]
