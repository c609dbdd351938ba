//! Exchange: FIFO channels between tasks, with credit in bytes, over one connection per pair of workers.
