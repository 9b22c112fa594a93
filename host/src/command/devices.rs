//! `elucid plan --device list`: the devices and their published peak numbers.

use super::say::say;
use crate::device::{DEVICES, Device};

/// Lists the devices.
pub fn list(json: bool) {
    if json {
        for d in &DEVICES {
            say!(
                "{}",
                serde_json::json!({
                    "device": d.name, "title": d.title, "mode": d.mode, "source": d.source,
                    "cuda_cores": d.cores, "clock_mhz": d.clock_mhz, "tensor_cores": d.tensor_cores,
                    "f32_flops": d.f32_flops(), "tensor_f16_flops": d.tensor_flops(),
                    "bytes_per_second": d.bytes_per_second(),
                })
            );
        }
        return;
    }
    say!(
        "Published peak numbers, nothing measured. TFLOP/s: f32 on CUDA cores, dense f16 on tensor cores.\n"
    );
    say!(
        "{:<16} {:<29} {:<17} {:>6} {:>5} {:>7} {:>7} {:>6}  source",
        "name",
        "device",
        "mode",
        "cores",
        "MHz",
        "f32",
        "f16",
        "GB/s"
    );
    for d in &DEVICES {
        let tensor = d
            .tensor_flops()
            .map_or("-".to_owned(), |f| format!("{:.1}", f / 1e12));
        say!(
            "{:<16} {:<29} {:<17} {:>6} {:>5.0} {:>7.3} {tensor:>7} {:>6.1}  {}",
            d.name,
            d.title,
            d.mode,
            d.cores,
            d.clock_mhz,
            d.f32_flops() / 1e12,
            d.bandwidth,
            d.source
        );
    }
}

/// Peaks in words.
pub fn numbers(device: &Device) -> String {
    let tensor = device
        .tensor_flops()
        .map_or("no tensor cores".to_owned(), |f| {
            format!("{:.1} TFLOP/s f16 dense on tensor cores", f / 1e12)
        });
    format!(
        "{:.2} TFLOP/s f32 on {} CUDA cores at {:.0} MHz, {tensor}, {} GB/s",
        device.f32_flops() / 1e12,
        device.cores,
        device.clock_mhz,
        device.bandwidth
    )
}
