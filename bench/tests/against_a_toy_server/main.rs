//! The program against a toy server that can be told to break a promise.

#![cfg(test)]

mod a_record_is_a_true_account;
mod driver_counts_truly;
mod toy;
