//! Log macros that become `log`, `defmt` or nothing.
//!
//! Both back ends at once is a mistake in the feature list, so it doesn't compile.

#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("choose one of the features `log` and `defmt`, not both");

macro_rules! debug {
    ($($arg:expr),* $(,)?) => {{
        #[cfg(feature = "log")]
        ::log::debug!($($arg),*);
        #[cfg(feature = "defmt")]
        ::defmt::debug!($($arg),*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        let _ = ($(&$arg),*);
    }};
}
