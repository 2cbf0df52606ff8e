"""Export models, compare each export with its model, and quantise.

exporter        a model file to a folder that every command takes as a model
convert         a network to ONNX, OpenVINO or an exported torch program
labelled_views  the videos on which an export is compared, calibrated and measured
quantize        static int8 that keeps the accuracy
"""

from __future__ import annotations

from vidcli.export.exporter import FORMATS, ExportOptions, ExportReport, export_model

__all__ = ["FORMATS", "ExportOptions", "ExportReport", "export_model"]
