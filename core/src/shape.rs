//! Shapes: height, width, channels, in this order in memory (channels last), and tokens before them.

/// The shape `[h, w, c]` of one activation; a vector of features is `[1, 1, c]`. In a transformer, `tokens` rows of `c`
/// channels that belong to no place (class token, queries) lie before the grid: `[tokens + h * w, c]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Rows.
    pub h: u32,
    /// Columns.
    pub w: u32,
    /// Channels.
    pub c: u32,
    /// Rows before the grid; none in convolutional networks.
    pub tokens: u32,
}

/// More elements than any activation here may have (offsets are [`u32`], and this leaves room for arenas).
const MAX_ELEMENTS: u64 = 1 << 30;

impl Shape {
    /// `[h, w, c]`.
    #[must_use]
    pub const fn new(h: u32, w: u32, c: u32) -> Self {
        let tokens = 0;
        Self { h, w, c, tokens }
    }

    /// The same with other channels.
    #[must_use]
    pub const fn with_channels(self, c: u32) -> Self {
        Self { c, ..self }
    }

    /// All rows in one line, as operations see them that look at one row at a time.
    #[must_use]
    pub const fn flat(self) -> Self {
        match self.tokens {
            0 => self,
            tokens => Self::new(
                1,
                self.h.saturating_mul(self.w).saturating_add(tokens),
                self.c,
            ),
        }
    }

    /// `[1, 1, c]`.
    #[must_use]
    pub const fn features(c: u32) -> Self {
        Self::new(1, 1, c)
    }

    /// Number of rows, `tokens + h * w`.
    #[must_use]
    pub const fn pixels(self) -> usize {
        (self.h as usize)
            .saturating_mul(self.w as usize)
            .saturating_add(self.tokens as usize)
    }

    /// Number of elements, rows times `c`. Only meaningful after [`Shape::checked`].
    #[must_use]
    pub const fn elements(self) -> usize {
        self.pixels().saturating_mul(self.c as usize)
    }

    /// The shape itself if it is not empty and small enough to be addressed, else `None`.
    #[must_use]
    pub fn checked(self) -> Option<Self> {
        let grid = u64::from(self.h).checked_mul(u64::from(self.w))?;
        let pixels = grid.checked_add(u64::from(self.tokens))?;
        let elements = pixels.checked_mul(u64::from(self.c))?;
        (elements > 0 && elements <= MAX_ELEMENTS).then_some(self)
    }

    /// `[h, w, c]` as an array, for messages.
    #[must_use]
    pub const fn to_array(self) -> [u32; 3] {
        [self.h, self.w, self.c]
    }
}
