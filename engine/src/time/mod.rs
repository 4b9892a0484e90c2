//! Time, pure: clocks, watermarks, windows. Knows nothing of data, state or tasks.

mod clock;
mod watermark;
mod window;

pub use clock::{Clock, MockClock, Stopwatch, SystemClock};
pub use watermark::{MergeChange, SplitView, SplitWatermarks, Watermark, WatermarkMerge};
pub use window::WindowSpec;
