//! Published peak numbers of the devices that elucid is made for.
//!
//! One table: cores, tensor cores, clocks and memory as NVIDIA publishes them for one power mode; rates follow from
//! these. They are upper bounds that no program reaches, and nothing here was measured.

/// A device in one power mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name on the box.
    pub title: &'static str,
    /// Power mode that the clock belongs to.
    pub mode: &'static str,
    /// Compute capability as compilers name it: 87 for 8.7.
    pub arch: u32,
    /// Multiprocessors, among which a launch's blocks are spread.
    pub multiprocessors: u32,
    /// CUDA cores: one f32 multiply-add a clock each.
    pub cores: u32,
    /// Clock of the GPU in that mode, MHz.
    pub clock_mhz: f64,
    /// Tensor cores; 0 where it has none.
    pub tensor_cores: u32,
    /// Dense f16 multiply-adds of a tensor core in one clock.
    pub tensor_width: u32,
    /// Bandwidth of the memory, GB/s.
    pub bandwidth: f64,
    /// Where the numbers are published.
    pub source: &'static str,
}

/// All devices.
pub const DEVICES: [Device; 9] = [
    Device {
        name: "orin-nano",
        title: "Jetson Orin Nano 8 GB",
        mode: "15 W",
        arch: 87,
        multiprocessors: 8,
        cores: 1024,
        clock_mhz: 625.0,
        tensor_cores: 32,
        tensor_width: 256,
        bandwidth: 68.0,
        source: "NVIDIA Jetson Orin Nano Series Data Sheet",
    },
    Device {
        name: "orin-nano-super",
        title: "Jetson Orin Nano 8 GB, Super",
        mode: "MAXN SUPER, 25 W",
        arch: 87,
        multiprocessors: 8,
        cores: 1024,
        clock_mhz: 1020.0,
        tensor_cores: 32,
        tensor_width: 256,
        bandwidth: 102.0,
        source: "NVIDIA Jetson Orin Nano Super Developer Kit datasheet",
    },
    Device {
        name: "orin-nx",
        title: "Jetson Orin NX 16 GB",
        mode: "MAXN, 25 W",
        arch: 87,
        multiprocessors: 8,
        cores: 1024,
        clock_mhz: 918.0,
        tensor_cores: 32,
        tensor_width: 256,
        bandwidth: 102.4,
        source: "NVIDIA Jetson Orin NX Series Data Sheet",
    },
    Device {
        name: "orin-agx",
        title: "Jetson AGX Orin 64 GB",
        mode: "MAXN, 60 W",
        arch: 87,
        multiprocessors: 16,
        cores: 2048,
        clock_mhz: 1300.0,
        tensor_cores: 64,
        tensor_width: 256,
        bandwidth: 204.8,
        source: "NVIDIA Jetson AGX Orin Series Technical Brief v1.2",
    },
    Device {
        name: "xavier",
        title: "Jetson AGX Xavier",
        mode: "MAXN, 30 W",
        arch: 72,
        multiprocessors: 8,
        cores: 512,
        clock_mhz: 1377.0,
        tensor_cores: 64,
        tensor_width: 64,
        bandwidth: 136.5,
        source: "NVIDIA Jetson AGX Xavier Series Data Sheet",
    },
    Device {
        name: "xavier-nx",
        title: "Jetson Xavier NX",
        mode: "15 W",
        arch: 72,
        multiprocessors: 6,
        cores: 384,
        clock_mhz: 1100.0,
        tensor_cores: 48,
        tensor_width: 64,
        bandwidth: 59.7,
        source: "NVIDIA Jetson Xavier NX Series Data Sheet",
    },
    Device {
        name: "tx2",
        title: "Jetson TX2",
        mode: "Max-N, 15 W",
        arch: 62,
        multiprocessors: 2,
        cores: 256,
        clock_mhz: 1300.0,
        tensor_cores: 0,
        tensor_width: 0,
        bandwidth: 59.7,
        source: "NVIDIA Jetson TX2 Series Data Sheet",
    },
    Device {
        name: "nano",
        title: "Jetson Nano",
        mode: "MAXN, 10 W",
        arch: 53,
        multiprocessors: 1,
        cores: 128,
        clock_mhz: 921.6,
        tensor_cores: 0,
        tensor_width: 0,
        bandwidth: 25.6,
        source: "NVIDIA Jetson Nano Data Sheet",
    },
    Device {
        name: "thor",
        title: "Jetson AGX Thor (T5000)",
        mode: "MAXN, 130 W",
        arch: 110,
        multiprocessors: 20,
        cores: 2560,
        clock_mhz: 1575.0,
        // 20 multiprocessors with four each; some tables count the whole chip's 96.
        tensor_cores: 80,
        tensor_width: 1024,
        bandwidth: 273.0,
        source: "NVIDIA Jetson Thor Series Modules Data Sheet",
    },
];

impl Device {
    /// The device with this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        DEVICES.iter().find(|d| d.name == name)
    }

    /// Whether its tensor cores multiply 16 x 16 by 16 x 8 halves at once, which forward products are made of.
    #[must_use]
    pub fn multiplies_halves(&self) -> bool {
        self.tensor_cores > 0 && self.arch >= 80
    }

    /// f32 operations a second on CUDA cores; a multiply-add is two.
    #[must_use]
    pub fn f32_flops(&self) -> f64 {
        2.0 * f64::from(self.cores) * self.clock_mhz * 1e6
    }

    /// Dense f16 operations a second on tensor cores.
    #[must_use]
    pub fn tensor_flops(&self) -> Option<f64> {
        let width = f64::from(self.tensor_cores) * f64::from(self.tensor_width);
        (width > 0.0).then_some(2.0 * width * self.clock_mhz * 1e6)
    }

    /// Bytes a second to and from memory.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.bandwidth * 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_the_published_ones() {
        // TFLOP/s of f32 and dense f16 that NVIDIA prints, to the digits it prints: for Orin and Thor half the sparse
        // f16 figure, a quarter of the sparse int8 one.
        for (name, f32, tensor) in [
            ("orin-nano", 1.28, Some(10.0)),
            ("orin-nano-super", 2.09, Some(16.75)),
            ("orin-nx", 1.88, Some(15.0)),
            ("orin-agx", 5.3, Some(42.5)),
            ("xavier", 1.41, Some(11.0)),
            ("xavier-nx", 0.845, Some(6.8)),
            ("tx2", 0.665, None),
            ("nano", 0.236, None),
            ("thor", 8.064, Some(258.5)),
        ] {
            let device = Device::find(name).unwrap();
            let near = |got: f64, want: f64| (got / 1e12 / want - 1.0).abs() < 0.03;
            assert!(near(device.f32_flops(), f32), "{name}");
            match (device.tensor_flops(), tensor) {
                (Some(got), Some(want)) => assert!(near(got, want), "{name}: {got}"),
                (None, None) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn names_are_distinct_and_everything_has_a_source() {
        for (i, device) in DEVICES.iter().enumerate() {
            assert!(DEVICES[..i].iter().all(|d| d.name != device.name));
            assert!(!device.source.is_empty() && !device.mode.is_empty());
            assert!(device.bandwidth > 20.0 && device.clock_mhz > 500.0);
            // Maxwell, Pascal, Ampere and Blackwell have 128 cores in one, Volta 64.
            let each = if device.arch == 72 { 64 } else { 128 };
            assert_eq!(
                device.multiprocessors * each,
                device.cores,
                "{}",
                device.name
            );
        }
    }
}
