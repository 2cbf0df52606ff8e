"""Measurements that a user can repeat: `vidcli bench`.

decode_speed   `bench decode`, with `frame_check` and `sample_videos`
train_speed    `bench train`
predict_speed  `bench predict`
infer_speed    `bench infer`
gpu_speed      `bench gpu`, with `gpu_parts`
timing         times and turns, used by all of them
"""
