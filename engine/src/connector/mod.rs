//! What the outside must implement: a `Connector` gives a `Source` and a `Sink` for a table's options.

mod factory;
mod lookup;
mod registry;
mod sink;
mod source;

pub use factory::{Connector, OptionHelp, TableContext};
pub use lookup::{
    Found, KeyedReader, KeyedTable, Lookup, LookupContext, LookupRequest, PartialCache, Reload, TableLoad,
};
pub use registry::ConnectorRegistry;
pub use sink::{Committable, DeliveryGuarantee, RecoverContext, Sink, Writer, WriterContext};
pub use source::{
    Assignment, Boundedness, Enumerator, Metrics, Poll, Reader, ReaderContext, Source, SourceContext, Split,
    SplitReading,
};
