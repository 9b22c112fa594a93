//! Shapes: height, width, channels, in this order in memory (channels last).

/// The shape `[h, w, c]` of one activation; a vector of features is `[1, 1, c]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Rows.
    pub h: u32,
    /// Columns.
    pub w: u32,
    /// Channels.
    pub c: u32,
}

/// More elements than any activation here may have (offsets are [`u32`], and this leaves room for arenas).
const MAX_ELEMENTS: u64 = 1 << 30;

impl Shape {
    /// `[h, w, c]`.
    #[must_use]
    pub const fn new(h: u32, w: u32, c: u32) -> Self {
        Self { h, w, c }
    }

    /// `[1, 1, c]`.
    #[must_use]
    pub const fn features(c: u32) -> Self {
        Self { h: 1, w: 1, c }
    }

    /// Number of pixels, `h * w`.
    #[must_use]
    pub const fn pixels(self) -> usize {
        (self.h as usize).saturating_mul(self.w as usize)
    }

    /// Number of elements, `h * w * c`. Only meaningful after [`Shape::checked`].
    #[must_use]
    pub const fn elements(self) -> usize {
        self.pixels().saturating_mul(self.c as usize)
    }

    /// The shape itself if it is not empty and small enough to be addressed, else `None`.
    #[must_use]
    pub fn checked(self) -> Option<Self> {
        let pixels = u64::from(self.h).checked_mul(u64::from(self.w))?;
        let elements = pixels.checked_mul(u64::from(self.c))?;
        (elements > 0 && elements <= MAX_ELEMENTS).then_some(self)
    }

    /// `[h, w, c]` as an array, for messages.
    #[must_use]
    pub const fn to_array(self) -> [u32; 3] {
        [self.h, self.w, self.c]
    }
}
