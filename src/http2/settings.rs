//! The settings of one endpoint (RFC 9113 §6.5.2).

use crate::http2::violation::Violation;

/// The initial window of every stream and of the connection by default, in bytes (§6.9.2).
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The smallest SETTINGS_MAX_FRAME_SIZE, and its initial value (§6.5.2).
pub const MIN_FRAME_SIZE: u32 = 16_384;
/// The largest SETTINGS_MAX_FRAME_SIZE (§6.5.2).
pub const MAX_FRAME_SIZE: u32 = 16_777_215;
/// The largest flow-control window (§6.9.1).
pub const MAX_WINDOW: u32 = 0x7fff_ffff;

/// The settings of one endpoint, with the initial values of the RFC as default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// SETTINGS_HEADER_TABLE_SIZE: the HPACK table this endpoint decodes with. Initially 4096.
    pub header_table_size: u32,
    /// SETTINGS_ENABLE_PUSH. Initially on; we always send off.
    pub enable_push: bool,
    /// SETTINGS_MAX_CONCURRENT_STREAMS; `None` is no limit.
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE. Initially 65,535.
    pub initial_window_size: u32,
    /// SETTINGS_MAX_FRAME_SIZE. Initially 16,384.
    pub max_frame_size: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE; `None` is no limit.
    pub max_header_list_size: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table_size: 4096,
            enable_push: true,
            max_concurrent_streams: None,
            initial_window_size: DEFAULT_WINDOW,
            max_frame_size: MIN_FRAME_SIZE,
            max_header_list_size: None,
        }
    }
}

pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE_ID: u16 = 5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;

impl Settings {
    /// Applies one entry of a peer's SETTINGS frame. Unknown identifiers change nothing.
    ///
    /// # Errors
    /// The rule that the value breaks (RFC 9113 §6.5.2).
    pub fn apply(&mut self, id: u16, value: u32) -> Result<(), Violation> {
        match id {
            HEADER_TABLE_SIZE => self.header_table_size = value,
            ENABLE_PUSH => {
                // RFC 9113 §6.5.2: any value other than 0 or 1 is a connection error
                if value > 1 {
                    return Err(Violation::SettingsEnablePush);
                }
                self.enable_push = value == 1;
            }
            MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = Some(value),
            INITIAL_WINDOW_SIZE => {
                // RFC 9113 §6.5.2: values above 2^31-1 are a FLOW_CONTROL_ERROR
                if value > MAX_WINDOW {
                    return Err(Violation::SettingsInitialWindow);
                }
                self.initial_window_size = value;
            }
            MAX_FRAME_SIZE_ID => {
                // RFC 9113 §6.5.2: the value lies between 2^14 and 2^24-1
                if !(MIN_FRAME_SIZE..=MAX_FRAME_SIZE).contains(&value) {
                    return Err(Violation::SettingsMaxFrameSize);
                }
                self.max_frame_size = value;
            }
            MAX_HEADER_LIST_SIZE => self.max_header_list_size = Some(value),
            // RFC 9113 §6.5.2: an unknown setting is ignored
            _ => {}
        }
        Ok(())
    }

    /// Returns the entries to send: those that differ from the initial values.
    pub fn entries(&self) -> impl Iterator<Item = (u16, u32)> + use<> {
        let initial = Self::default();
        let all = [
            (HEADER_TABLE_SIZE, Some(self.header_table_size), Some(initial.header_table_size)),
            (ENABLE_PUSH, Some(u32::from(self.enable_push)), Some(1)),
            (MAX_CONCURRENT_STREAMS, self.max_concurrent_streams, None),
            (INITIAL_WINDOW_SIZE, Some(self.initial_window_size), Some(DEFAULT_WINDOW)),
            (MAX_FRAME_SIZE_ID, Some(self.max_frame_size), Some(MIN_FRAME_SIZE)),
            (MAX_HEADER_LIST_SIZE, self.max_header_list_size, None),
        ];
        all.into_iter().filter(|(_, v, i)| v != i).filter_map(|(id, v, _)| Some((id, v?)))
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::settings::*;

    #[test]
    fn values_out_of_range_are_named() {
        let mut s = Settings::default();
        assert_eq!(s.apply(ENABLE_PUSH, 2), Err(Violation::SettingsEnablePush));
        assert_eq!(s.apply(INITIAL_WINDOW_SIZE, 1 << 31), Err(Violation::SettingsInitialWindow));
        assert_eq!(s.apply(MAX_FRAME_SIZE_ID, 16_383), Err(Violation::SettingsMaxFrameSize));
        assert_eq!(s.apply(MAX_FRAME_SIZE_ID, 1 << 24), Err(Violation::SettingsMaxFrameSize));
        assert_eq!(s.apply(0xfafa, 7), Ok(()));
        assert_eq!(s, Settings::default());
    }

    #[test]
    fn only_what_differs_is_sent() {
        assert_eq!(Settings::default().entries().count(), 0);
        let s = Settings { enable_push: false, max_frame_size: 65_536, ..Settings::default() };
        assert_eq!(s.entries().collect::<Vec<_>>(), [(2, 0), (5, 65_536)]);
    }
}
